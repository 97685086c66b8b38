import copy
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.manifest import Manifest, Owner, object_key, referring_uids
from gemma_operator.planning.origin import HubOrigin
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.prune import to_leave, to_prune
from gemma_operator.resources.step import Step, next_step
from gemma_operator.settings import parse_settings
from support.plans import CPU_PLAN, OWNER, from_origin, spec_of

SETTINGS = parse_settings("")
OTHER = Owner(name="other", namespace="team-a", uid="uid-other", generation=1)
SHARED = {"accessMode": "ReadWriteMany"}
MOVED = from_origin(CPU_PLAN, HubOrigin("google/gemma-3-270m", "f" * 40))


def desired(plan: Plan = CPU_PLAN, owner: Owner = OWNER, **fields: Any) -> tuple[Manifest, ...]:
    return desired_objects(owner, spec_of(**fields), plan, SETTINGS)


def live(*manifests: Manifest) -> list[Manifest]:
    """As the API server would hold them; Jobs have not run."""
    return [{**copy.deepcopy(manifest), "status": {}} for manifest in manifests]


def complete(children: list[Manifest]) -> list[Manifest]:
    """All Jobs have succeeded."""
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    return [{**child, "status": done} if child["kind"] == "Job" else child for child in children]


def pod_mounting(claim_name: str, phase: str = "Running") -> Manifest:
    volume = {"name": "weights", "persistentVolumeClaim": {"claimName": claim_name}}
    metadata = {"name": "old", "namespace": OWNER.namespace, "uid": "pod"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"volumes": [volume]},
        "status": {"phase": phase},
    }


def kinds(manifests: tuple[Manifest, ...]) -> set[str]:
    return {manifest["kind"] for manifest in manifests}


def carried_out(step: Step, children: list[Manifest]) -> list[Manifest]:
    replaced = {object_key(manifest) for manifest in step.apply} | set(step.prune) | set(step.leave)
    return [child for child in children if object_key(child) not in replaced] + live(*step.apply)


def test_without_a_cache_everything_is_applied_at_once() -> None:
    step = next_step(OWNER, [], desired())
    assert step == Step(apply=desired(), held=(), prune=())


def test_pods_are_not_made_before_their_weights_are_there() -> None:
    step = next_step(OWNER, [], desired(cache={}))
    assert kinds(step.held) == {"NetworkPolicy", "ConfigMap", "Deployment"}
    assert {"Job", "PersistentVolumeClaim", "Service"} <= kinds(step.apply)


def test_pods_are_made_when_the_job_has_succeeded() -> None:
    children = complete(live(*next_step(OWNER, [], desired(cache={})).apply))
    step = next_step(OWNER, children, desired(cache={}))
    assert step.held == ()
    assert "Deployment" in kinds(step.apply)
    assert "Job" not in kinds(step.apply), "what it would do is done"
    assert step.prune == ()


def test_a_changed_source_leaves_what_serves_alone_until_the_new_weights_are_there() -> None:
    serving = complete(live(*desired(cache={})))
    wanted = desired(MOVED, cache={})
    fetching = next_step(OWNER, serving, wanted)
    assert kinds(fetching.held) == {"NetworkPolicy", "ConfigMap", "Deployment"}
    assert fetching.prune == fetching.leave == ()

    fetched = complete(carried_out(fetching, serving))
    rolling = next_step(OWNER, fetched, wanted)
    assert "Deployment" in kinds(rolling.apply)
    assert {key.kind for key in rolling.leave} == {"Job", "PersistentVolumeClaim"}


def test_the_old_claim_stays_while_an_old_pod_mounts_it() -> None:
    before, after = desired(cache={}), desired(MOVED, cache={})
    (old_claim,) = [m["metadata"]["name"] for m in before if m["kind"] == "PersistentVolumeClaim"]
    children = complete(live(*before, *after))
    rolling = next_step(OWNER, [*children, pod_mounting(old_claim)], after)
    rolled = next_step(OWNER, [*children, pod_mounting(old_claim, phase="Succeeded")], after)
    assert {key.kind for key in rolling.leave} == {"Job"}
    assert {key.kind for key in rolled.leave} == {"Job", "PersistentVolumeClaim"}


def test_an_unfinished_job_of_an_earlier_spec_makes_way() -> None:
    children = live(*next_step(OWNER, [], desired(cache={})).apply)
    step = next_step(OWNER, children, desired(MOVED, cache={}))
    assert [key.kind for key in step.leave] == ["Job"]


def test_a_new_operator_version_does_not_fetch_again() -> None:
    children = complete(live(*desired(cache={})))
    newer = parse_settings("images: {gateway: 'registry.example/gateway:2'}")
    step = next_step(OWNER, children, desired_objects(OWNER, spec_of(cache={}), CPU_PLAN, newer))
    assert step.held == ()
    assert "Job" not in kinds(step.apply)
    assert step.prune == step.leave == ()


def test_suspending_does_not_wait_for_weights() -> None:
    step = next_step(OWNER, [], desired(cache={}, suspend=True))
    assert step.held == ()


def test_a_foreign_job_is_no_proof_of_our_weights() -> None:
    foreign = complete(live(*desired(owner=OTHER, cache={"claimName": "shared"})))
    step = next_step(OWNER, foreign, desired(cache={"claimName": "shared"}))
    assert "Deployment" in kinds(step.held)


def test_dropping_the_cache_removes_what_it_brought() -> None:
    children = complete(live(*desired(cache={})))
    step = next_step(OWNER, children, desired())
    assert [(key.kind, key.name) for key in step.prune] == [("NetworkPolicy", "assistant-weights")]
    assert {key.kind for key in step.leave} == {"Job", "PersistentVolumeClaim"}


def test_going_back_to_one_replica_removes_the_budget() -> None:
    step = next_step(OWNER, live(*desired(replicas=2)), desired(replicas=1))
    assert [key.kind for key in step.prune] == ["PodDisruptionBudget"]


def test_what_is_on_its_way_out_is_not_deleted_again() -> None:
    (budget,) = [m for m in live(*desired(replicas=2)) if m["kind"] == "PodDisruptionBudget"]
    budget["metadata"]["deletionTimestamp"] = "2026-11-25T03:00:00Z"
    assert to_prune(OWNER, [budget], desired()) == []


FIELDS = st.fixed_dictionaries(
    {"replicas": st.integers(0, 3), "suspend": st.booleans()},
    optional={"cache": st.sampled_from([{}, {"size": "5Gi"}, {"claimName": "models"}, SHARED])},
)
PLANS = st.sampled_from([CPU_PLAN, MOVED])
OWNERS = st.sampled_from([OWNER, OTHER, replace(OWNER, uid="uid-of-a-predecessor")])
CHILDREN = st.lists(
    st.builds(
        lambda owner, plan, fields, done: (
            complete(live(*desired(plan, owner, **fields))) if done else live(*desired(plan, owner, **fields))
        ),
        OWNERS,
        PLANS,
        FIELDS,
        st.booleans(),
    ),
    max_size=3,
).map(lambda groups: [child for group in groups for child in group])


@given(CHILDREN, PLANS, FIELDS)
def test_prune_names_only_what_we_own_and_do_not_want(
    children: list[Manifest], plan: Plan, fields: dict[str, Any]
) -> None:
    wanted = desired(plan, **fields)
    named = {*to_prune(OWNER, children, wanted), *to_leave(OWNER, children, wanted)}
    ours = {object_key(child) for child in children if OWNER.uid in referring_uids(child)}
    assert named <= ours
    assert named.isdisjoint(object_key(manifest) for manifest in wanted)


@given(CHILDREN, PLANS, FIELDS)
def test_a_step_splits_what_is_desired_and_loses_nothing(
    children: list[Manifest], plan: Plan, fields: dict[str, Any]
) -> None:
    wanted = desired(plan, **fields)
    step = next_step(OWNER, children, wanted)
    missing = [manifest for manifest in wanted if manifest not in (*step.apply, *step.held)]
    assert kinds(tuple(missing)) <= {"Job"}


@given(PLANS, FIELDS, PLANS, FIELDS)
def test_steps_come_to_rest(
    first: Plan, first_fields: dict[str, Any], second: Plan, second_fields: dict[str, Any]
) -> None:
    children: list[Manifest] = []
    for plan, fields in ((first, first_fields), (second, second_fields)):
        wanted = desired(plan, **fields)
        for _ in range(4):
            children = complete(carried_out(next_step(OWNER, children, wanted), children))
        rest = next_step(OWNER, children, wanted)
        assert rest.held == ()
        assert rest.prune == rest.leave == ()
        assert {object_key(manifest) for manifest in rest.apply} <= {object_key(child) for child in children}
