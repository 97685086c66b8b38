"""Pods are asked for their adapters until they have them, and no more often than something may change."""

from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.controller.adapters import LOADING_SECONDS, TROUBLE_SECONDS, AdapterLooks
from support.corridor import KEY

WANTED = {"maths": "/weights/maths"}


class Pods:
    """Gateways that say what they are told to, and the time."""

    def __init__(self, state: str = "Loaded") -> None:
        self.state = state
        self.failure: Exception | None = None
        self.asked: list[str] = []
        self.now = 0.0
        self.looks = AdapterLooks(self.ask, lambda: self.now)

    async def ask(self, url: str) -> Any:
        self.asked.append(url)
        if self.failure is not None:
            raise self.failure
        return {"adapters": [{"name": "maths", "path": "/weights/maths", "state": self.state}]}

    async def states(self, wanted: dict[str, str] = WANTED, pods: tuple[Manifest, ...] = ()) -> list[str]:
        said = await self.looks.look(KEY, wanted, pods or (pod(),))
        return [finding.state.value for each in said for finding in each.findings.values()]


def pod(address: str = "10.0.0.7", restarts: int = 0, uid: str = "u1") -> Manifest:
    containers = [{"name": "triton", "restartCount": restarts}]
    return {
        "metadata": {"name": f"tutor-{uid}", "uid": uid},
        "status": {"podIP": address, "containerStatuses": containers},
    }


async def test_a_pod_that_has_all_is_not_asked_again() -> None:
    pods = Pods()
    assert await pods.states() == ["Loaded"]
    pods.now = 1e6
    assert await pods.states() == ["Loaded"]
    assert pods.asked == ["http://10.0.0.7:9090/health"]
    assert pods.looks.again_in_seconds(KEY) is None


async def test_a_pod_that_loads_is_asked_again_after_a_while_and_not_before() -> None:
    pods = Pods("Loading")
    for now in (0.0, LOADING_SECONDS - 1, LOADING_SECONDS):
        pods.now = now
        await pods.states()
    assert len(pods.asked) == 2
    assert pods.looks.again_in_seconds(KEY) == LOADING_SECONDS


async def test_a_failure_is_asked_after_less_often() -> None:
    pods = Pods("Failed")
    await pods.states()
    assert pods.looks.again_in_seconds(KEY) == TROUBLE_SECONDS


@pytest.mark.parametrize(
    ("wanted", "pods"),
    [
        ({"maths": "/weights/new"}, (pod(),)),
        (WANTED, (pod(restarts=1),)),
        (WANTED, (pod(uid="u2"),)),
    ],
    ids=["an edit", "a restart", "a new pod"],
)
async def test_what_may_change_the_answer_asks_again(
    wanted: dict[str, str], pods: tuple[Manifest, ...]
) -> None:
    answering = Pods()
    await answering.states()
    await answering.states(wanted, pods)
    assert len(answering.asked) == 2


@pytest.mark.parametrize("failure", [TimeoutError(), ValueError("not JSON")])
async def test_a_pod_that_cannot_be_asked_is_unknown_and_no_failure(failure: Exception) -> None:
    pods = Pods()
    pods.failure = failure
    assert await pods.states() == ["Unknown"]
    assert pods.looks.again_in_seconds(KEY) == TROUBLE_SECONDS


async def test_where_no_adapter_is_wanted_nobody_is_asked() -> None:
    pods = Pods()
    assert await pods.states({}) == []
    assert pods.asked == []


async def test_an_ipv6_address_is_written_as_one() -> None:
    pods = Pods()
    await pods.states(pods=(pod("fd00::7"),))
    assert pods.asked == ["http://[fd00::7]:9090/health"]


async def test_an_endpoint_that_is_gone_is_forgotten() -> None:
    pods = Pods("Loading")
    await pods.states()
    pods.looks.forget(KEY)
    assert pods.looks.again_in_seconds(KEY) is None
