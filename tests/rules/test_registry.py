"""The registry says what is emitted: the emitting code is held against it, name by name, type and labels."""

import pytest
from prometheus_client import CollectorRegistry

from gemma_monitoring.cardinality import (
    ENDPOINT_BOUNDS,
    GATEWAY_BOUNDS,
    MOST_ENDPOINT_SERIES,
    MOST_GATEWAY_SERIES,
    OPERATOR_BOUNDS,
    bounds_of,
    most_series,
)
from gemma_monitoring.registry import (
    FRONT_DOOR,
    GATEWAY,
    METRICS,
    OPERATOR_ENDPOINT,
    OPERATOR_PROCESS,
    OUTCOMES,
    SERIES,
    Emitter,
    Kind,
    MetricSpec,
)
from gemma_operator.api.reasons import ConditionType
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.api.v1alpha1.safety import Policy
from gemma_operator.kube.kinds import KINDS
from gemma_serving.contract import EngineStats
from gemma_serving.frontdoor.books import Books
from gemma_serving.frontdoor.fleet import Endpoint, EndpointState, Fleet
from gemma_serving.frontdoor.holding import Waiting
from gemma_serving.gateway.metrics import Metrics as GatewayMetrics
from gemma_serving.gateway.quality import Quality
from gemma_serving.gateway.safety.filters import Safety
from support.runtime_configs import runtime_config

TRITON_PAGE = 60
"""Series that Triton 2.51 with one model appends (35 counted, GPU ones estimated)."""


def gateway_after_some_traffic() -> GatewayMetrics:
    metrics = GatewayMetrics(runtime_config())
    Quality(100, metrics, Safety(None, metrics))._observe("relevance", 0.5)
    metrics.request_ended("success")
    metrics.rejected("queue_full")
    metrics.safety_decision("input", "guard", "allow")
    metrics.engine.stats = EngineStats(1, 0, 10, 100, 5, 1.0)
    return metrics


def emitted(registry: CollectorRegistry) -> dict[str, MetricSpec]:
    """What a page has, in the registry's words; emitter and help are not compared."""
    found = {}
    for family in registry.collect():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = MetricSpec(name, Kind(family.type), frozenset(labels), Emitter.GATEWAY, "")
    return found


def declared(emitter: Emitter) -> dict[str, MetricSpec]:
    return {metric.name: metric for metric in METRICS if metric.emitter is emitter}


def test_the_gateway_emits_exactly_what_is_declared() -> None:
    page = emitted(gateway_after_some_traffic().registry)
    assert page.keys() == declared(Emitter.GATEWAY).keys()


@pytest.mark.parametrize("name", declared(Emitter.GATEWAY))
def test_types_and_labels_of_the_gateway_are_as_declared(name: str) -> None:
    found, wanted = emitted(gateway_after_some_traffic().registry)[name], declared(Emitter.GATEWAY)[name]
    assert (found.kind, found.labels) == (wanted.kind, wanted.labels)


def test_the_front_door_emits_exactly_what_is_declared() -> None:
    endpoint, fleet = Endpoint("chat", "assistant"), Fleet()
    fleet.replace({endpoint: EndpointState()})
    books = Books(fleet, Waiting(1))
    books.ended(endpoint, 200)
    books.retried(endpoint)
    books.woke(endpoint, 3.0)
    found = {name: (each.kind, each.labels) for name, each in emitted(books.registry).items()}
    assert found == {name: (e.kind, e.labels) for name, e in declared(Emitter.FRONT_DOOR).items()}


def test_the_gateway_counts_every_outcome_from_the_start() -> None:
    page = GatewayMetrics(runtime_config()).render().decode()
    for outcome in OUTCOMES:
        assert f'gemma_requests_total{{model="demo",outcome="{outcome}"}} 0.0' in page


def buckets(registry: CollectorRegistry) -> dict[str, int]:
    """Of each histogram, `+Inf` included."""
    return {
        family.name: len({sample.labels["le"] for sample in family.samples if "le" in sample.labels})
        for family in registry.collect()
    }


def test_a_serving_pod_stays_within_its_series_whatever_happens() -> None:
    found = buckets(gateway_after_some_traffic().registry)
    worst = sum(most_series(metric, found[metric.name.removesuffix("_total")]) for metric in GATEWAY)
    assert worst + TRITON_PAGE <= MOST_GATEWAY_SERIES, worst


def test_an_endpoint_stays_within_its_series_whatever_happens() -> None:
    assert sum(most_series(metric) for metric in OPERATOR_ENDPOINT) <= MOST_ENDPOINT_SERIES


@pytest.mark.parametrize(
    "metric", [*GATEWAY, *OPERATOR_PROCESS, *OPERATOR_ENDPOINT, *FRONT_DOOR], ids=lambda m: m.name
)
def test_every_label_of_ours_has_a_bound(metric: MetricSpec) -> None:
    assert metric.labels <= bounds_of(metric).keys()


def test_bounds_are_those_of_the_code() -> None:
    assert OPERATOR_BOUNDS["resource"].most >= 2 * len(KINDS)
    assert ENDPOINT_BOUNDS["type"].most >= len(ConditionType)
    assert OPERATOR_BOUNDS["engine"].most == len(EngineName) - 1
    assert GATEWAY_BOUNDS["policy"].most == 2 + len(Policy)


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        if metric.emitter in {Emitter.GATEWAY, Emitter.OPERATOR}:
            assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
            assert metric.help.endswith("."), metric.name
    assert len(SERIES) == sum(len(metric.series_names) for metric in METRICS)
