from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.reasons import ConditionType, Reason
from gemma_operator.api.v1alpha1 import ConditionStatus, GemmaDeploymentStatus
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.status.conditions import (
    Status,
    interrupted_status,
    next_status,
    transitions,
)
from gemma_operator.status.observed import (
    DeploymentState,
    JobState,
    Observed,
    PodState,
    RolloutState,
    observe,
)
from gemma_operator.status.pods import FetchReport, Trouble
from gemma_operator.status.verdict import Verdict
from support.children import LATER, NOW, deployment, job, serving
from support.plans import CPU_PLAN, GPU_PLAN, OWNER, spec_of

REFUSAL = Refusal(Reason.DOES_NOT_FIT, "needs 61.2 GiB, has 20.2 GiB, use INT4")
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
FETCHED = {"type": "WeightsReady", "status": "True", "observedGeneration": 1, "lastTransitionTime": NOW}
FETCHED |= {"reason": "WeightsReady", "message": "there"}


def conditions(status: Status) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in status["conditions"]}


CURRENT = RolloutState(
    Verdict.true(Reason.UP_TO_DATE, "the pods are what the spec asks for"), "aaaaaaaa", "0.1.0"
)
MOVED = replace(CPU_PLAN, context_length=4096)


def answer(
    outcome: Plan | Refusal | None, observed: Observed, previous: Status | None = None, **fields: Any
) -> Status:
    return next_status(spec_of(**fields), 3, outcome, observed, previous or {}, NOW)


def test_everything_is_ready() -> None:
    children = [serving(2), job(**COMPLETE)]
    observed = replace(observe(OWNER, children), rollout=CURRENT)
    status = answer(CPU_PLAN, observed, replicas=2, cache={})
    assert {name: c["status"] for name, c in conditions(status).items()} == dict.fromkeys(
        ["Planned", "WeightsReady", "PodsReady", "Ready", "UpToDate"], "True"
    )
    assert conditions(status)["Ready"]["reason"] == "Ready"
    assert status["summary"] == (
        "2 of 2 replicas serve gemma-3-270m in Q4_K_M with LlamaCpp on cpu,"
        " 4 requests of 8192 tokens at once."
    )
    assert (status["ready"], status["accelerator"]) == ("2/2", "cpu")
    assert status["observedGeneration"] == 3


def test_pods_of_another_rendering_serve_and_are_told_of_beside_ready() -> None:
    children = [serving(1), job(**COMPLETE)]
    before = answer(CPU_PLAN, replace(observe(OWNER, children), rollout=CURRENT), cache={})
    held = Verdict.false(Reason.OPERATOR_CHANGED, "operator 0.1.0 rendered the pods")
    rollout = replace(CURRENT, verdict=held, pending="bbbbbbbb", plan=before["plan"])
    status = answer(MOVED, replace(observe(OWNER, children), rollout=rollout), before, cache={})
    found = conditions(status)
    assert found["UpToDate"]["reason"] == "OperatorChanged"
    assert found["Ready"]["status"] == "True"
    assert status["plan"] == before["plan"], "the plan in force is the one that the pods were made from"
    assert status["rendered"] == {
        "operatorVersion": "0.1.0",
        "templateHash": "aaaaaaaa",
        "pending": "bbbbbbbb",
    }


def test_a_refusal_of_an_edit_leaves_the_truth_about_the_pods_alone() -> None:
    before = answer(CPU_PLAN, observe(OWNER, [serving(1), job(**COMPLETE)]), cache={})
    status = answer(REFUSAL, observe(OWNER, [serving(1), job(**COMPLETE)]), before, cache={})
    found = conditions(status)
    assert (found["Planned"]["status"], found["Planned"]["message"]) == ("False", REFUSAL.message)
    assert found["PodsReady"]["status"] == "True"
    assert found["WeightsReady"]["status"] == "True"
    assert (found["Ready"]["reason"], found["Ready"]["message"]) == ("DoesNotFit", REFUSAL.message)
    assert status["plan"] == before["plan"], "the plan in force is still the one before"
    assert status["summary"] == f"1 of 1 replica serve: {REFUSAL.message}."


def test_a_refusal_of_a_new_resource() -> None:
    status = answer(REFUSAL, observe(OWNER, []))
    assert {name: c["status"] for name, c in conditions(status).items()} == {
        "Planned": "False",
        "WeightsReady": "Unknown",
        "PodsReady": "Unknown",
        "Ready": "False",
        "UpToDate": "Unknown",
    }
    assert "plan" not in status
    assert status["summary"] == f"Nothing serves: {REFUSAL.message}."


def test_a_spec_that_cannot_be_read() -> None:
    unreadable = Refusal(Reason.INVALID_SPEC, "spec.replicas: is required")
    status = next_status(None, 4, unreadable, observe(OWNER, [serving(1)]), {}, NOW)
    assert conditions(status)["Planned"]["reason"] == "InvalidSpec"
    assert conditions(status)["PodsReady"]["status"] == "True"


def test_nothing_planned_yet_is_unknown() -> None:
    assert conditions(answer(None, observe(OWNER, [])))["Ready"]["status"] == "Unknown"


def test_ready_takes_reason_and_message_of_the_first_that_is_not() -> None:
    status = answer(CPU_PLAN, observe(OWNER, [deployment()]), cache={})
    found = conditions(status)
    assert found["WeightsReady"]["status"] == found["PodsReady"]["status"] == "False"
    assert found["Ready"]["reason"] == found["WeightsReady"]["reason"]
    assert found["Ready"]["message"] == found["WeightsReady"]["message"]


def test_pods_that_have_not_fetched_yet_do_not_hide_why_they_do_not_run() -> None:
    rejected = {
        "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}]
    }
    status = answer(CPU_PLAN, observe(OWNER, [deployment(**rejected)]))
    assert conditions(status)["WeightsReady"]["status"] == "Unknown"
    assert conditions(status)["Ready"]["reason"] == "PodsRejected"


def test_accelerators_are_counted_in_the_column() -> None:
    assert answer(GPU_PLAN, observe(OWNER, []))["accelerator"] == "4x nvidia-l4"


def test_memory_of_the_plan_is_told_in_gib() -> None:
    memory = answer(CPU_PLAN, observe(OWNER, []))["plan"]["memory"]
    assert memory == {
        "usable": "2.00",
        "weights": "0.24",
        "kvCache": "0.12",
        "overhead": "0.25",
        "headroom": "1.39",
    }


def test_the_scale_subresource_finds_its_pods() -> None:
    status = answer(CPU_PLAN, observe(OWNER, [serving(2)]), replicas=2)
    assert status["replicas"] == 2
    assert status["selector"] == (
        "serving.gemma-operator.dev/deployment=assistant,serving.gemma-operator.dev/role=serving"
    )


def test_an_interrupted_reconcile_speaks_through_ready_and_leaves_the_rest() -> None:
    before = answer(CPU_PLAN, observe(OWNER, [serving(1), job(**COMPLETE)]), cache={})
    status = interrupted_status(before, 5, Reason.FORBIDDEN, "cannot patch deployments", LATER)
    assert conditions(status)["Ready"]["reason"] == "Forbidden"
    assert conditions(status)["Ready"]["lastTransitionTime"] == LATER
    assert {**conditions(status), "Ready": None} == {**conditions(before), "Ready": None}
    assert status["plan"] == before["plan"]


def test_a_status_of_another_version_is_read_as_far_as_it_goes() -> None:
    strange = {"conditions": [FETCHED, {"type": "Odd"}, 7], "plan": {"engine": "Warp"}, "replicas": "many"}
    status = answer(REFUSAL, observe(OWNER, [serving(1)]), strange)
    assert conditions(status)["WeightsReady"]["lastTransitionTime"] == FETCHED["lastTransitionTime"]
    assert list(conditions(status)) == ["Planned", "WeightsReady", "PodsReady", "Ready", "UpToDate"]


def test_the_first_answer_tells_what_is_known() -> None:
    told = transitions({}, answer(REFUSAL, observe(OWNER, [])))
    assert [(t.type, t.status) for t in told] == [
        (ConditionType.PLANNED, ConditionStatus.FALSE),
        (ConditionType.READY, ConditionStatus.FALSE),
    ]


def test_a_changed_reason_is_told_and_a_changed_message_is_not() -> None:
    before = answer(REFUSAL, observe(OWNER, []))
    other_words = answer(replace(REFUSAL, message="needs 61.3 GiB"), observe(OWNER, []), before)
    other_reason = answer(replace(REFUSAL, reason=Reason.UNKNOWN_VARIANT), observe(OWNER, []), before)
    assert transitions(before, other_words) == []
    assert [t.reason for t in transitions(before, other_reason)] == ["UnknownVariant", "UnknownVariant"]


COUNTS = st.integers(0, 3)
WORDS = st.text(max_size=40)
TROUBLES = st.none() | st.builds(Trouble, st.sampled_from(Reason), WORDS)
REPORTS = st.none() | st.builds(
    FetchReport, st.booleans(), st.booleans(), st.none() | st.just(NOW), TROUBLES, st.none() | st.just("abc")
)
DEPLOYMENTS = st.none() | st.builds(
    DeploymentState, COUNTS, COUNTS, COUNTS, COUNTS, st.booleans(), st.none() | WORDS, st.none() | WORDS
)
PODS = st.builds(PodState, WORDS, st.booleans(), st.booleans(), st.booleans(), REPORTS, TROUBLES)
JOBS = st.builds(
    JobState,
    WORDS,
    st.just(CPU_PLAN.weights.key),
    WORDS,
    st.just(NOW),
    st.booleans(),
    st.none() | WORDS,
    REPORTS,
    TROUBLES,
)
OBSERVED = st.builds(
    Observed,
    st.just(OWNER),
    DEPLOYMENTS,
    st.lists(PODS, max_size=3).map(tuple),
    st.lists(JOBS, max_size=2).map(tuple),
)
OUTCOMES = (
    st.none() | st.sampled_from([CPU_PLAN, GPU_PLAN]) | st.builds(Refusal, st.sampled_from(Reason), WORDS)
)
SPECS = st.builds(
    lambda replicas, suspend, more: spec_of(replicas=replicas, suspend=suspend, **more),
    COUNTS,
    st.booleans(),
    st.sampled_from([{}, {"cache": {}}]),
)


@given(SPECS, OUTCOMES, OBSERVED, OUTCOMES, OBSERVED)
def test_told_its_own_answer_it_answers_the_same(
    spec: Any, first: Plan | Refusal | None, then: Observed, second: Plan | Refusal | None, now: Observed
) -> None:
    before = next_status(spec, 1, first, then, {}, NOW)
    status = next_status(spec, 2, second, now, before, LATER)
    again = next_status(spec, 2, second, now, status, LATER)
    assert again == status
    assert transitions(status, again) == []


@given(SPECS, OUTCOMES, OBSERVED, OUTCOMES, OBSERVED)
def test_the_transition_time_moves_exactly_when_the_status_does(
    spec: Any, first: Plan | Refusal | None, then: Observed, second: Plan | Refusal | None, now: Observed
) -> None:
    before = conditions(next_status(spec, 1, first, then, {}, NOW))
    after = conditions(next_status(spec, 2, second, now, {"conditions": list(before.values())}, LATER))
    for kind, condition in after.items():
        has_changed = condition["status"] != before[kind]["status"]
        assert condition["lastTransitionTime"] == (LATER if has_changed else NOW)


@given(SPECS, OUTCOMES, OBSERVED)
def test_every_answer_is_a_valid_status_for_its_generation(
    spec: Any, outcome: Plan | Refusal | None, observed: Observed
) -> None:
    status = next_status(spec, 9, outcome, observed, {}, NOW)
    GemmaDeploymentStatus.model_validate(status, extra="forbid")
    # ScalingActive is said only where replicas are not a fixed number.
    always = [kind.value for kind in ConditionType if kind is not ConditionType.SCALING_ACTIVE]
    assert list(conditions(status)) == always
    assert {condition["observedGeneration"] for condition in status["conditions"]} == {9}
    assert status["summary"].count("\n") == 0


@given(SPECS, OUTCOMES, OBSERVED)
def test_ready_is_true_exactly_when_all_others_are(
    spec: Any, outcome: Plan | Refusal | None, observed: Observed
) -> None:
    found = conditions(next_status(spec, 1, outcome, observed, {}, NOW))
    ready = found.pop("Ready")
    assert (ready["status"] == "True") == all(condition["status"] == "True" for condition in found.values())
    if ready["status"] != "True":
        first = next(c for s in ("False", "Unknown") for c in found.values() if c["status"] == s)
        assert (ready["reason"], ready["message"]) == (first["reason"], first["message"])


@pytest.mark.parametrize("length", [10, 100_000])
def test_messages_are_cut_to_what_the_crd_takes(length: int) -> None:
    status = answer(Refusal(Reason.DOES_NOT_FIT, "x" * length), observe(OWNER, []))
    GemmaDeploymentStatus.model_validate(status)
    assert len(conditions(status)["Ready"]["message"]) <= 2048
