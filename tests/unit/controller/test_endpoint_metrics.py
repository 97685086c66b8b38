"""What the metrics page says of each endpoint, and that it goes when the endpoint goes."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gemma_monitoring.registry import METRICS, OBJECTIVES, Emitter, Kind
from gemma_operator.api.manifest import Manifest, ObjectKey
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, StartupPhaseName
from gemma_operator.controller.endpoints import FAMILIES, EndpointMetrics, Picture, unix
from gemma_operator.controller.metrics import Metrics
from gemma_operator.planning.plan import Plan
from gemma_operator.status.observed import DeploymentState, Observed, PodState
from gemma_operator.status.startup import Startup
from support.plans import CPU_PLAN, OWNER

KEY = ObjectKey("v1", "GemmaDeployment", OWNER.namespace, OWNER.name)
MOST_SERIES = 35
STATUS: Manifest = {
    "conditions": [
        {"type": "Planned", "status": "True", "reason": "Planned"},
        {"type": "PodsReady", "status": "False", "reason": "Starting"},
    ],
    "weights": {"bytesDone": 10, "bytesTotal": 100},
}
CREATED, READY, LATER = "2026-11-25T03:00:00Z", "2026-11-25T03:01:30Z", "2026-11-25T05:00:00Z"


def pod(name: str = "a", ready_since: str | None = None, created: str = CREATED) -> PodState:
    return PodState(
        name=name,
        is_current=True,
        is_ready=ready_since is not None,
        is_terminating=False,
        fetch=None,
        trouble=None,
        created=created,
        ready_since=ready_since,
    )


def picture(
    *pods: PodState, plan: Plan | None = CPU_PLAN, desired: int = 2, monitoring: Any = None, **status: Any
) -> Picture:
    ready = sum(each.is_ready for each in pods)
    deployment = DeploymentState(
        desired=desired, replicas=len(pods), updated=len(pods), ready=ready, is_settled=True
    )
    spec = GemmaDeploymentSpec.model_validate(
        {"model": {"variant": "gemma-3-270m"}, "monitoring": monitoring or {}}
    )
    return Picture(OWNER, spec, plan, Observed(OWNER, deployment, pods), {**STATUS, **status})


Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples(endpoints: EndpointMetrics, at: str = CREATED) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(endpoints.page(unix(at)).decode()):
        found[family.name] = [(dict(sample.labels), sample.value) for sample in family.samples]
    return found


def value(endpoints: EndpointMetrics, family: str, at: str = CREATED, **labels: str) -> float | None:
    own = {"namespace": OWNER.namespace, "model": OWNER.name, **labels}
    return next((number for words, number in samples(endpoints, at)[family] if words == own), None)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def endpoints(registry: CollectorRegistry) -> EndpointMetrics:
    return EndpointMetrics(registry)


def test_plan_replicas_conditions_and_weights_are_said(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture(pod("a", READY), pod("b")))
    words = {"variant": "gemma-3-270m", "engine": "LlamaCpp", "accelerator": "cpu", "precision": "Q4_K_M"}
    assert value(endpoints, "gemma_deployment_info", **words) == 1
    assert value(endpoints, "gemma_deployment_replicas_desired") == 2
    assert value(endpoints, "gemma_deployment_replicas_ready") == 1
    assert (
        value(endpoints, "gemma_deployment_condition", type="PodsReady", status="False", reason="Starting")
        == 1
    )
    assert value(endpoints, "gemma_deployment_weights_bytes", state="done") == 10
    assert (
        value(endpoints, "gemma_deployment_memory_planned_bytes", term="weights")
        == CPU_PLAN.memory.weights_bytes
    )
    assert value(endpoints, "gemma_deployment_accelerators", accelerator="cpu") == 0


def test_accelerators_are_counted_over_the_replicas_that_are_wanted(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture(plan=replace(CPU_PLAN, accelerator="nvidia-l4", count=2), desired=3))
    assert value(endpoints, "gemma_deployment_accelerators", accelerator="nvidia-l4") == 6


def test_a_deleted_endpoint_leaves_no_series(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture(pod("a", READY)))
    endpoints.forget(KEY)
    assert not any(samples(endpoints).values())


def test_a_condition_is_one_series_whatever_it_was_before(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture())
    endpoints.show(KEY, picture(conditions=[{"type": "PodsReady", "status": "True", "reason": "PodsReady"}]))
    assert [words["reason"] for words, _ in samples(endpoints)["gemma_deployment_condition"]] == ["PodsReady"]


def test_a_refused_edit_keeps_saying_what_runs(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture(pod("a", READY)))
    endpoints.show(KEY, picture(pod("a", READY), plan=None))
    assert len(samples(endpoints)["gemma_deployment_info"]) == 1


def test_loading_grows_with_time_and_is_absent_when_nothing_loads(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture(pod("a")))
    assert value(endpoints, "gemma_deployment_loading_seconds", READY) == 90
    endpoints.show(KEY, picture(pod("a", READY)))
    assert value(endpoints, "gemma_deployment_loading_seconds", LATER) is None
    endpoints.show(KEY, picture())
    assert value(endpoints, "gemma_deployment_loading_seconds", LATER) is None


def test_a_pod_that_lost_readiness_is_not_loading_and_its_start_does_not_count_again(
    endpoints: EndpointMetrics, registry: CollectorRegistry
) -> None:
    endpoints.show(KEY, picture(pod("a")))
    endpoints.show(KEY, picture(pod("a", READY)))
    endpoints.show(KEY, picture(pod("a")))
    assert value(endpoints, "gemma_deployment_loading_seconds", LATER) is None
    endpoints.show(KEY, picture(pod("a", LATER)))
    assert value(endpoints, "gemma_deployment_startup_last_seconds") == 90
    assert registry.get_sample_value("gemma_operator_startup_seconds_count", {"engine": "LlamaCpp"}) == 1


def test_a_restarted_operator_does_not_count_old_starts(
    endpoints: EndpointMetrics, registry: CollectorRegistry
) -> None:
    endpoints.show(KEY, picture(pod("a", READY)))
    assert value(endpoints, "gemma_deployment_startup_last_seconds") == 90
    assert registry.get_sample_value("gemma_operator_startup_seconds_count", {"engine": "LlamaCpp"}) == 0


def test_each_phase_of_a_start_counts_once(endpoints: EndpointMetrics, registry: CollectorRegistry) -> None:
    started = replace(pod("a", READY), startup=Startup({StartupPhaseName.WEIGHTS: 60}))
    for shown in (pod("a"), started, started):
        endpoints.show(KEY, picture(shown))
    found = {
        phase: registry.get_sample_value(
            "gemma_operator_startup_phase_seconds_sum", {"engine": "LlamaCpp", "phase": phase.value}
        )
        for phase in StartupPhaseName
    }
    assert found == dict.fromkeys(StartupPhaseName, 0.0) | {StartupPhaseName.WEIGHTS: 60.0}


def test_the_last_start_is_that_of_the_pod_that_became_ready_last(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture(pod("a", LATER), pod("b", READY)))
    assert value(endpoints, "gemma_deployment_startup_last_seconds") == 7200


def test_objectives_are_said_in_the_unit_that_their_name_ends_in(endpoints: EndpointMetrics) -> None:
    objectives = {"timeToFirstTokenP95Seconds": 1.5, "availabilityPercent": 99.5}
    endpoints.show(KEY, picture(monitoring={"objectives": objectives}))
    assert value(endpoints, "gemma_deployment_objective", objective="ttft_p95_seconds") == 1.5
    assert value(endpoints, "gemma_deployment_objective", objective="availability_ratio") == 0.995
    assert value(endpoints, "gemma_deployment_objective", objective="tpot_p95_seconds") is None


def test_the_bounds_of_scaling_are_said_where_there_are_any(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture())
    assert value(endpoints, "gemma_deployment_replicas_maximum") is None
    bounds = {"minReplicas": 1, "maxReplicas": 7}
    spec = GemmaDeploymentSpec.model_validate({"model": {"variant": "gemma-3-270m"}, "scaling": bounds})
    endpoints.show(KEY, replace(picture(), spec=spec))
    assert value(endpoints, "gemma_deployment_replicas_minimum") == 1
    assert value(endpoints, "gemma_deployment_replicas_maximum") == 7


def test_drift_is_said_where_the_operator_judges_it(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture())
    assert value(endpoints, "gemma_deployment_template_drift") is None
    outdated = {"type": "UpToDate", "status": "False", "reason": "OperatorChanged"}
    endpoints.show(KEY, picture(conditions=[outdated]))
    assert value(endpoints, "gemma_deployment_template_drift") == 1
    undone = {"type": "UpToDate", "status": "False", "reason": "RolledBack"}
    endpoints.show(KEY, picture(conditions=[undone]))
    assert value(endpoints, "gemma_deployment_template_drift") == 0


def test_values_cannot_break_the_page(endpoints: EndpointMetrics) -> None:
    endpoints.show(KEY, picture(plan=replace(CPU_PLAN, variant='a"b\\c\nd')))
    [(words, _)] = samples(endpoints)["gemma_deployment_info"]
    assert words["variant"] == 'a"b\\c\nd'


def test_one_endpoint_has_a_bounded_number_of_series(endpoints: EndpointMetrics) -> None:
    kinds = ("Planned", "WeightsReady", "PodsReady", "Ready", "ScalingActive", "UpToDate", "ObjectivesMet")
    conditions = [{"type": kind, "status": "False", "reason": "Waiting"} for kind in kinds]
    endpoints.show(KEY, picture(*(pod(str(number)) for number in range(50)), conditions=conditions))
    assert sum(map(len, samples(endpoints).values())) <= MOST_SERIES


def test_the_page_emits_only_what_the_registry_declares() -> None:
    metrics = Metrics()
    metrics.reconcile_seconds.labels("done").observe(0.1)
    metrics._requests.labels("GET", "pods", "200").inc()
    metrics.follow_queue(lambda: 0, lambda: 0.0)
    metrics.follow_watches(lambda: {"pods": 1.0})
    metrics.endpoints.show(KEY, picture(pod("a")))
    everything = {
        "timeToFirstTokenP95Seconds": 1,
        "timePerOutputTokenP95Seconds": 1,
        "availabilityPercent": 99,
    }
    metrics.endpoints.show(KEY, picture(pod("a", READY), monitoring={"objectives": everything}))
    declared = {metric.name: metric for metric in METRICS if metric.emitter is Emitter.OPERATOR}
    seen = set()
    for family in text_string_to_metric_families(metrics.page().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert Kind(family.type) is declared[name].kind
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == declared[name].labels, name
        seen.add(name)
    assert seen == declared.keys()


def test_families_are_described_as_in_the_registry() -> None:
    declared = {m.name: m.help for m in METRICS if m.name.startswith("gemma_deployment_")}
    assert FAMILIES.keys() == declared.keys()


def test_objectives_are_named_as_the_rules_know_them(endpoints: EndpointMetrics) -> None:
    everything = {
        "timeToFirstTokenP95Seconds": 1,
        "timePerOutputTokenP95Seconds": 1,
        "availabilityPercent": 99,
    }
    endpoints.show(KEY, picture(monitoring={"objectives": everything}))
    said = {words["objective"] for words, _ in samples(endpoints)["gemma_deployment_objective"]}
    assert said == set(OBJECTIVES)
