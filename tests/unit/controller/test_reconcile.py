"""The corridor on a Kubernetes API in memory: what is written, what is not, and what the user is told."""

from copy import deepcopy
from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest, ObjectKey
from gemma_operator.kube.apiserver import Request
from gemma_operator.kube.errors import ConflictError, ForbiddenError, NameTakenError, UnavailableError
from support.api_double import ApiDouble
from support.corridor import KEY, SPEC, Corridor

MAX_WRITES = 9
"""For a new GemmaDeployment, status and events included (issue: operator at scale)."""
SERVICE = ObjectKey("v1", "Service", "team-a", "assistant")
DEPLOYMENT = ObjectKey("apps/v1", "Deployment", "team-a", "assistant")

TWO_REPLICAS = {**SPEC, "replicas": 2}
CACHED = {**SPEC, "cache": {}}
UNFITTABLE = {**SPEC, "model": {"variant": "gemma-3-270m", "contextLength": 1048576}}


@pytest.fixture
def corridor() -> Corridor:
    corridor = Corridor()
    corridor.user_applies(SPEC)
    return corridor


async def test_a_new_resource_gets_its_children_and_a_status_in_few_writes_and_no_reads(
    corridor: Corridor,
) -> None:
    await corridor.settle()
    kinds = {name.split("/")[0] for name in corridor.children()}
    assert kinds == {"ServiceAccount", "NetworkPolicy", "ConfigMap", "Service", "Deployment"}
    assert len(corridor.api.writes) <= MAX_WRITES
    assert corridor.api.reads == []
    assert corridor.condition("Planned")["status"] == "True"


async def test_every_child_is_controlled_by_its_owner(corridor: Corridor) -> None:
    await corridor.settle()
    uid = corridor.api.objects[KEY]["metadata"]["uid"]
    for child in corridor.children().values():
        (reference,) = child["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (uid, True)


@pytest.mark.parametrize(
    "spec", [SPEC, TWO_REPLICAS, CACHED, UNFITTABLE], ids=["plain", "two", "cached", "refused"]
)
async def test_a_second_run_and_a_restart_write_nothing(spec: Manifest) -> None:
    corridor = Corridor()
    corridor.user_applies(spec)
    await corridor.settle()
    written = len(corridor.api.writes)
    await corridor.reconcile()
    corridor.restart()
    await corridor.reconcile()
    assert corridor.api.writes[written:] == []


async def test_an_edit_writes_only_what_it_changes(corridor: Corridor) -> None:
    await corridor.settle()
    written = len(corridor.api.writes)
    corridor.user_applies(TWO_REPLICAS)
    await corridor.settle()
    touched = {request.path.rsplit("/", 2)[-2] for request in corridor.api.writes[written:]}
    assert "serviceaccounts" not in touched
    assert "services" not in touched
    assert corridor.api.objects[DEPLOYMENT]["spec"]["replicas"] == 2
    assert "PodDisruptionBudget/assistant" in corridor.children()


async def test_what_is_no_longer_wanted_is_removed(corridor: Corridor) -> None:
    corridor.user_applies(TWO_REPLICAS)
    await corridor.settle()
    corridor.user_applies(SPEC)
    await corridor.settle()
    assert "PodDisruptionBudget/assistant" not in corridor.children()


async def test_an_edit_that_cannot_be_served_leaves_what_serves(corridor: Corridor) -> None:
    await corridor.settle()
    before = deepcopy(corridor.children())
    corridor.user_applies(UNFITTABLE)
    await corridor.settle()
    assert corridor.children() == before
    assert corridor.condition("Planned")["status"] == "False"
    assert corridor.condition("Planned")["reason"] == "ContextTooLong"


async def test_bad_then_good_equals_good(corridor: Corridor) -> None:
    await corridor.settle()
    good = deepcopy(corridor.children())
    corridor.user_applies(UNFITTABLE)
    await corridor.settle()
    corridor.user_applies(SPEC)
    await corridor.settle()
    assert corridor.children() == good
    assert corridor.condition("Planned")["status"] == "True"


@pytest.mark.parametrize(
    "spec",
    [{}, {"model": "gemma"}, {"model": {"variant": 7}, "replicas": -1}, {"model": {"variant": "x" * 999}}],
)
async def test_a_spec_that_does_not_parse_gets_a_condition(spec: Any) -> None:
    corridor = Corridor()
    corridor.user_applies(spec)
    await corridor.settle()
    assert corridor.children() == {}
    assert corridor.condition("Ready")["reason"] == "InvalidSpec"
    assert "spec.model" in corridor.condition("Ready")["message"]


async def test_a_foreign_edit_is_put_back_and_a_foreign_label_stays(corridor: Corridor) -> None:
    await corridor.settle()
    service = deepcopy(corridor.api.objects[SERVICE])
    edited = deepcopy(service)
    edited["spec"]["ports"][0]["port"] = 81
    edited["metadata"]["labels"]["team"] = "blue"
    corridor.api.put(edited)
    await corridor.settle()
    assert corridor.api.objects[SERVICE]["spec"] == service["spec"]
    assert corridor.api.objects[SERVICE]["metadata"]["labels"]["team"] == "blue"


async def test_what_gitops_tools_track_an_endpoint_by_is_not_copied_to_its_children(
    corridor: Corridor,
) -> None:
    """Argo CD would take a child that has it for one of the repository's, and prune it."""
    tracking = {"argocd.argoproj.io/instance": "fleet", "kustomize.toolkit.fluxcd.io/name": "fleet"}
    noted = {"argocd.argoproj.io/tracking-id": "fleet:serving/GemmaDeployment:team-a/assistant"}
    corridor.user_applies(TWO_REPLICAS, labels=tracking, annotations=noted)
    await corridor.settle()
    for name, child in corridor.children().items():
        template = child["spec"]["template"] if child["kind"] == "Deployment" else {"metadata": {}}
        for metadata in (child["metadata"], template["metadata"]):
            said = metadata.get("labels", {}).keys() | metadata.get("annotations", {}).keys()
            assert not said & (tracking.keys() | noted.keys()), name


async def test_a_deleted_child_comes_back(corridor: Corridor) -> None:
    await corridor.settle()
    gone = corridor.api.remove(SERVICE)
    corridor.index.discard(SERVICE, int(gone["metadata"]["resourceVersion"]))
    await corridor.settle()
    assert SERVICE in corridor.api.objects


async def test_a_resource_on_its_way_out_is_left_alone(corridor: Corridor) -> None:
    corridor.user_applies(SPEC, deletionTimestamp="2026-11-25T00:00:00Z")
    await corridor.reconcile()
    assert corridor.api.writes == []


async def test_children_of_a_vanished_owner_are_not_made_again(corridor: Corridor) -> None:
    await corridor.settle()
    children = [key for key in corridor.api.objects if key.kind != "Event"]
    gone = corridor.api.remove(KEY)
    for key in children:
        if key != KEY:
            corridor.index.discard(key, int(gone["metadata"]["resourceVersion"]))
    written = len(corridor.api.writes)
    await corridor.reconcile()
    await corridor.reconcile()
    assert corridor.api.writes[written:] == []
    assert corridor.cluster.resource(KEY) is None


@pytest.mark.parametrize("labels", [{}, {"app": "mine"}])
async def test_a_foreign_object_of_the_same_name_is_never_adopted(
    corridor: Corridor, labels: Manifest
) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "assistant", "namespace": "team-a", "labels": labels},
        "spec": {"ports": [{"port": 5432}]},
    }
    key = corridor.foreign(foreign)
    before = deepcopy(corridor.api.objects[key])
    with pytest.raises(NameTakenError, match="Service team-a/assistant"):
        await corridor.settle()
    assert corridor.api.objects[key] == before


async def test_our_own_object_that_the_watch_has_not_shown_yet_is_recognised(corridor: Corridor) -> None:
    await corridor.settle()
    corridor.index.discard(SERVICE, 1)
    stale = Corridor(corridor.api)
    for key in corridor.api.objects:
        if key != KEY:
            stale.index.discard(key, 0)
    await stale.reconcile()
    assert stale.condition("Planned")["status"] == "True"


async def test_events_tell_transitions_once(corridor: Corridor) -> None:
    corridor.user_applies(UNFITTABLE)
    await corridor.settle()
    await corridor.settle()
    events = [found for key, found in corridor.api.objects.items() if key.kind == "Event"]
    assert [event["reason"] for event in events] == ["ContextTooLong"]
    assert events[0]["regarding"]["name"] == "assistant"


class Killed(BaseException):
    """The process is gone."""


def run_of(spec_after: Manifest | None) -> Any:
    """A life of one resource: created, and edited once it has settled."""

    async def live(corridor: Corridor) -> None:
        await corridor.settle()
        if spec_after is not None:
            corridor.user_applies(spec_after)
            await corridor.settle()

    return live


def outcome(corridor: Corridor) -> Any:
    """What exists, without what tells when."""
    children = deepcopy(corridor.children())
    for child in children.values():
        for name in ("resourceVersion", "uid", "managedFields", "generation"):
            child["metadata"].pop(name, None)
        child["metadata"].pop("ownerReferences")
    status = deepcopy(corridor.api.objects[KEY]["status"])
    for condition in status["conditions"]:
        del condition["lastTransitionTime"]
    return children, status


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "edit", [None, TWO_REPLICAS, UNFITTABLE, CACHED], ids=["none", "two", "refused", "cached"]
)
async def test_killed_at_any_write_it_ends_where_an_undisturbed_run_ends(
    moment: str, edit: Manifest | None
) -> None:
    """`after`: the write was carried out and nobody learned of it."""
    undisturbed = Corridor()
    undisturbed.user_applies(SPEC)
    await run_of(edit)(undisturbed)
    for fatal in range(1, len(undisturbed.api.writes) + 1):
        corridor = Corridor()
        corridor.user_applies(SPEC)
        count = 0

        def count_down(_: Request, fatal: int = fatal) -> None:
            nonlocal count
            count += 1
            if count == fatal:
                raise Killed

        setattr(corridor.api, moment, count_down)
        try:
            await run_of(edit)(corridor)
        except Killed:
            corridor.restart()
        await corridor.settle()
        if edit is not None:
            corridor.user_applies(edit)
            await corridor.settle()
        assert outcome(corridor) == outcome(undisturbed), f"killed {moment} write {fatal}"


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("before", UnavailableError("500")),
        ("before", ConflictError("409")),
        ("before", ForbiddenError("403")),
        ("after", UnavailableError("the connection was cut after the commit")),
    ],
)
async def test_failed_at_any_write_it_ends_where_an_undisturbed_run_ends(
    moment: str, error: Exception
) -> None:
    undisturbed = Corridor()
    undisturbed.user_applies(SPEC)
    await undisturbed.settle()
    for failing in range(1, len(undisturbed.api.writes) + 1):
        corridor = Corridor(ApiDouble())
        corridor.user_applies(SPEC)
        count = 0

        def count_down(_: Request, failing: int = failing) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise error

        setattr(corridor.api, moment, count_down)
        with pytest.raises(type(error)):
            await corridor.settle()
        await corridor.settle()
        assert outcome(corridor) == outcome(undisturbed), f"failed {moment} write {failing}"


async def test_a_crd_that_lacks_a_status_field_costs_that_field_and_no_write_again(
    corridor: Corridor,
) -> None:
    corridor.api.unserved_status_fields = {"rendered"}
    await corridor.settle()
    status = corridor.api.objects[KEY]["status"]
    assert "rendered" not in status
    assert status["observedGeneration"] == 1
    written = len(corridor.api.writes)
    await corridor.reconcile()
    assert corridor.api.writes[written:] == []


async def test_a_status_is_whole_though_the_one_before_was_written_unseen(corridor: Corridor) -> None:
    """Fault plan 019: what the lost write changed, and the next one changes back, stayed as it was lost."""
    await corridor.settle()
    seen = corridor.cluster.resource(KEY)
    assert seen is not None
    unplaced = [{"type": "PodsReady", "reason": "Unschedulable"}]
    first = {**seen["status"], "replicas": 2, "conditions": unplaced}
    await corridor.cluster.apply_status(seen, first)
    stale = corridor.cluster.resource(KEY)
    assert stale is not None

    def answer_lost(_: Request) -> None:
        raise UnavailableError("connection cut")

    corridor.api.after = answer_lost
    lost = {**first, "replicas": 1, "conditions": [{"type": "PodsReady", "reason": "Updating"}]}
    with pytest.raises(UnavailableError):
        await corridor.cluster.apply_status(stale, lost)
    corridor.api.after = lambda _: None
    last = {**first, "replicas": 1}
    await corridor.cluster.apply_status(stale, last)
    assert corridor.api.objects[KEY]["status"] == last
