"""FO-31: with an old CRD, an endpoint is not taken for one without limits."""

from collections.abc import Awaitable, Callable

from gemma_operator.controller.schema import check_schema
from gemma_operator.kube.errors import UnavailableError
from support.corridor import SPEC, Corridor


def answering(*fields: str) -> Callable[[], Awaitable[tuple[str, ...]]]:
    async def missing() -> tuple[str, ...]:
        return fields

    return missing


async def test_fo_31_without_its_limits_nothing_is_made_or_changed() -> None:
    world = Corridor()
    assert not await check_schema(answering("spec.access.limits"), world.basis)
    world.user_applies(SPEC)
    await world.settle()
    assert world.children() == {}
    told = world.condition("Planned")
    assert (told["status"], told["reason"]) == ("False", "CrdOutdated")
    assert "spec.access.limits" in told["message"]


async def test_fo_31_an_updated_crd_lets_it_go_on() -> None:
    world = Corridor()
    await check_schema(answering("spec.safety"), world.basis)
    world.user_applies(SPEC)
    await world.settle()
    assert await check_schema(answering(), world.basis)
    await world.settle()
    assert world.condition("Planned")["status"] == "True"


async def test_a_missing_column_of_the_status_holds_nothing_up() -> None:
    world = Corridor()
    assert not await check_schema(answering("status.summary"), world.basis)
    world.user_applies(SPEC)
    await world.settle()
    assert world.condition("Planned")["status"] == "True"


async def test_an_api_server_that_does_not_answer_changes_no_verdict() -> None:
    async def missing() -> tuple[str, ...]:
        raise UnavailableError("no answer")

    world = Corridor()
    await check_schema(answering("spec.safety"), world.basis)
    assert not await check_schema(missing, world.basis)
    assert world.basis.unserved == ("spec.safety",)
