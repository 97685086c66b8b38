"""Replicas that follow real load through an HPA, on a real prometheus-adapter with the rules that ship."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.autoscaling.conftest import (
    DECISION_SECONDS,
    FEWER_SECONDS,
    MOST,
    READY_SECONDS,
    SLOTS,
    STREAMS,
    Faults,
    Scaled,
    await_all_speaking,
    await_deployment,
    body,
    loaded,
)
from cluster.conftest import until
from cluster.endpoint import Endpoint
from gemma_devcluster import autoscaling, metrics_apis
from gemma_devcluster.objects import Manifest
from gemma_operator.resources.autoscaling.signals import RUNNING, WAITING

pytestmark = pytest.mark.autoscaling

OTHER = 'up{namespace!="",pod!=""}'
"""Series of a rule that is none of ours. Without any rule the adapter serves no API at all."""


@pytest.fixture(scope="module")
def classic(scaled: Scaled, awake: Endpoint) -> Iterator[Endpoint]:
    """The endpoint that KEDA scaled, handed over to an HPA, and back."""
    awake.apply(body(1, "HPA"))
    try:
        awake.wait_observed()
        awake.kubectl("wait", f"scaledobject/{awake.name}", "--for=delete", f"--timeout={DECISION_SECONDS}s")
        awake.wait_reason("ScalingActive", "Active")
        yield awake
    finally:
        awake.apply(body(1))
        awake.wait_observed()
        awake.kubectl("wait", f"scaledobject/{awake.name}", "--for=condition=Ready", "--timeout=120s")


def install_rules(scaled: Scaled, rules: list[Manifest] | None = None) -> None:
    url = autoscaling.PROMETHEUS_URL
    metrics_apis.install_prometheus_adapter(scaled.installed.cluster, scaled.binaries, url, rules)


def without(metric: str) -> list[Manifest]:
    """The shipped rules, less one metric."""
    return [
        {**rule, "seriesQuery": rule["seriesQuery"].replace(f"{metric}|", "")}
        for rule in metrics_apis.shipped_rules()
    ]


def asked(endpoint: Endpoint, metric: str) -> dict[str, float]:
    """What the metrics API answers for the pods of an endpoint, as an HPA asks it."""
    path = f"/apis/custom.metrics.k8s.io/v1beta1/namespaces/{endpoint.namespace}/pods/*/{metric}"
    found: dict[str, Any] = json.loads(endpoint.cluster.run("get", "--raw", path))
    return {item["describedObject"]["name"]: float(item["value"]) for item in found["items"]}


def test_kubectl_top_has_figures(scaled: Scaled, classic: Endpoint) -> None:
    until(lambda: bool(top(classic)), "metrics-server to have read the pods")
    assert set(top(classic)) == classic.pod_names()


def top(endpoint: Endpoint) -> list[str]:
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{endpoint.namespace}/pods"
    items = json.loads(endpoint.cluster.run("get", "--raw", path))["items"]
    return [item["metadata"]["name"] for item in items]


def test_a_burst_brings_replicas_and_its_end_takes_them_away(scaled: Scaled, classic: Endpoint) -> None:
    assert "HPA on prometheus-adapter" in classic.condition("ScalingActive")["message"]
    assert set(asked(classic, WAITING)) >= classic.pod_names()
    with loaded(classic.url(), classic.name) as load:
        await_deployment(classic, ".spec.replicas", MOST, DECISION_SECONDS)
        decided = load.seconds()
        await_deployment(classic, ".status.readyReplicas", MOST, READY_SECONDS)
        ready = load.seconds()
        await_all_speaking(classic)
        speaking = load.seconds()
        classic.wait_reason("ScalingActive", "AtMaximum")
        most = STREAMS - (MOST - 1) * SLOTS
        until(lambda: scaled.waiting(classic) <= most, f"at most {most} of {STREAMS} streams to wait")
        answers = load.stop()
    stopped = time.monotonic()
    await_deployment(classic, ".spec.replicas", 1, FEWER_SECONDS)
    print(
        f"HPA, burst of {STREAMS} streams at 1 replica: {MOST} wanted after {decided:.1f} s,"
        f" ready after {ready:.1f} s, all answering after {speaking:.1f} s;"
        f" 1 wanted {time.monotonic() - stopped:.1f} s after the end; {len(answers)} answers, all whole"
    )
    assert len(answers) >= STREAMS
    classic.wait_reason("ScalingActive", "Active")


def test_each_fault_is_told_while_serving_goes_on_and_replicas_hold(
    scaled: Scaled, classic: Endpoint
) -> None:
    faults = Faults(classic)
    with loaded(classic.url(), classic.name) as load:
        await_deployment(classic, ".status.readyReplicas", MOST, READY_SECONDS)
        until(
            lambda: classic.condition("ScalingActive")["status"] == "True", "the proof of a loaded endpoint"
        )
        began = time.monotonic()
        scaled.installed.kubectl.run("delete", "apiservice", metrics_apis.CUSTOM_API)
        faults.await_told("adapter's APIService gone", "AdapterMissing", "no custom metrics API", began)

        # Full slots are a reason for three replicas, so that the HPA itself calls the half of it enough.
        install_rules(scaled, without(WAITING))
        began = time.monotonic()
        faults.await_told("rule for one metric missing", "MetricMissing", f"cannot read {WAITING}", began)
        load.stop()

    install_rules(scaled, [{**rule, "seriesQuery": OTHER} for rule in metrics_apis.shipped_rules()])
    began = time.monotonic()
    faults.await_told("no rule at all", "MetricMissing", "FailedGetPodsMetric", began)

    scaled.stop(metrics_apis.ADAPTER_NAMESPACE, metrics_apis.ADAPTER)
    began = time.monotonic()
    faults.await_told("adapter not running", "AdapterMissing", "HorizontalPodAutoscaler", began)

    install_rules(scaled)
    classic.wait_reason("ScalingActive", "Active")
    assert set(asked(classic, RUNNING)) >= classic.pod_names()
    await_deployment(classic, ".spec.replicas", 1, FEWER_SECONDS)
    faults.report()
