"""Replicas that follow real load through a real KEDA and Prometheus, and each fault of the way between."""

import time

import pytest

from cluster.autoscaling.conftest import (
    DECISION_SECONDS,
    FEWER_SECONDS,
    MOST,
    READY_SECONDS,
    SLOTS,
    STREAMS,
    VALUES,
    Faults,
    Scaled,
    ask,
    await_all_speaking,
    await_deployment,
    body,
    loaded,
)
from cluster.conftest import until
from cluster.endpoint import Endpoint
from gemma_devcluster import autoscaling
from gemma_devcluster.kubectl import Kubectl

pytestmark = pytest.mark.autoscaling

DROP_NAMESPACE = {"action": "labeldrop", "regex": "namespace"}


def test_a_burst_brings_replicas_and_its_end_takes_them_away(scaled: Scaled, awake: Endpoint) -> None:
    with loaded(awake.url(), awake.name) as load:
        await_deployment(awake, ".spec.replicas", MOST, DECISION_SECONDS)
        decided = load.seconds()
        await_deployment(awake, ".status.readyReplicas", MOST, READY_SECONDS)
        ready = load.seconds()
        await_all_speaking(awake)
        speaking = load.seconds()
        awake.wait_reason("ScalingActive", "AtMaximum")
        # Connections are dealt out at random, so that a pod may have fewer streams than slots.
        most = STREAMS - (MOST - 1) * SLOTS
        until(lambda: scaled.waiting(awake) <= most, f"at most {most} of {STREAMS} streams to wait")
        peak = scaled.waiting(awake, over="5m")
        answers = load.stop()
    stopped = time.monotonic()
    await_deployment(awake, ".spec.replicas", 1, FEWER_SECONDS)
    print(
        f"burst of {STREAMS} streams at 1 replica: {MOST} wanted after {decided:.1f} s,"
        f" ready after {ready:.1f} s, all answering after {speaking:.1f} s;"
        f" waiting fell from {peak:.0f} to at most {most};"
        f" 1 wanted {time.monotonic() - stopped:.1f} s after the end; {len(answers)} answers, all whole"
    )
    assert peak == STREAMS - SLOTS
    assert len(answers) >= STREAMS
    awake.wait_reason("ScalingActive", "Active")


def test_a_burst_at_zero_is_answered_and_zero_comes_back(scaled: Scaled, namespace: str) -> None:
    endpoint = Endpoint(scaled.installed.kubectl, namespace, "asleep")
    endpoint.apply(body(0))
    await_deployment(endpoint, ".spec.replicas", 0, READY_SECONDS)
    endpoint.wait_reason("ScalingActive", "Active")
    with loaded(scaled.front_door(), f"{namespace}/{endpoint.name}") as load:
        await_deployment(endpoint, ".spec.replicas", 1, DECISION_SECONDS)
        decided = load.seconds()
        await_deployment(endpoint, ".status.readyReplicas", 1, READY_SECONDS)
        ready = load.seconds()
        await_deployment(endpoint, ".status.readyReplicas", MOST, READY_SECONDS)
        grown = load.seconds()
        await_all_speaking(endpoint)
        answers = load.stop()
    ended = max(answer.ended for answer in answers)
    await_deployment(endpoint, ".spec.replicas", 0, FEWER_SECONDS)
    first = min(answer.first_token for answer in answers) - load.began
    print(
        f"burst of {STREAMS} streams at 0 replicas: 1 wanted after {decided:.1f} s,"
        f" ready after {ready:.1f} s, first token after {first:.1f} s, {MOST} ready after {grown:.1f} s;"
        f" 0 wanted {time.monotonic() - ended:.1f} s after the last answer; {len(answers)} answers, all whole"
    )
    assert len(answers) >= STREAMS
    endpoint.wait_reason("ScalingActive", "Active")


def test_the_front_door_s_own_counts_are_enough_to_wake_and_to_sleep(scaled: Scaled, namespace: str) -> None:
    scaled.configure([value for value in VALUES if "prometheusUrl" not in value])
    try:
        endpoint = Endpoint(scaled.installed.kubectl, namespace, "asleep")
        endpoint.apply(body(0))
        await_deployment(endpoint, ".spec.replicas", 0, READY_SECONDS)
        endpoint.wait_reason("ScalingActive", "Active")
        assert "reads the front door" in endpoint.condition("ScalingActive")["message"]
        began = time.monotonic()
        answer = ask(scaled.front_door(), f"{namespace}/{endpoint.name}")
        await_deployment(endpoint, ".spec.replicas", 0, FEWER_SECONDS)
        print(
            f"one request at 0 replicas, without Prometheus: first token after"
            f" {answer.first_token - began:.1f} s; 0 wanted {time.monotonic() - answer.ended:.1f} s later"
        )
    finally:
        scaled.configure(VALUES)


def remove_keda(kubectl: Kubectl) -> None:
    """As its users do: what it scales first, while it is there to let go of it."""
    kubectl.run("delete", "crd", "scaledobjects.keda.sh", "--timeout=90s")
    kubectl.run("delete", "apiservice", "v1beta1.external.metrics.k8s.io")
    kubectl.run("delete", "namespace", autoscaling.KEDA_NAMESPACE, "--timeout=90s")


def test_each_fault_is_told_while_serving_goes_on_and_replicas_hold(scaled: Scaled, awake: Endpoint) -> None:
    cluster = scaled.installed.cluster
    faults = Faults(awake)
    with loaded(awake.url(), awake.name) as load:
        await_deployment(awake, ".status.readyReplicas", MOST, READY_SECONDS)
        awake.wait_reason("ScalingActive", "AtMaximum")
        began = time.monotonic()
        scaled.stop(autoscaling.PROMETHEUS_NAMESPACE, "prometheus")
        faults.await_told("Prometheus down", "MetricMissing", "does not answer", began)
        load.stop()
    # From here on nobody asks for more than one replica; whatever holds three is what a fault leaves.
    fallback = "--for=condition=Fallback"
    awake.kubectl("wait", f"scaledobject/{awake.name}", fallback, f"--timeout={READY_SECONDS}s")

    began = time.monotonic()
    autoscaling.install_prometheus(cluster, scaled.binaries, (DROP_NAMESPACE,))
    faults.await_told("namespace label dropped", "LabelMismatch", "other labels", began)

    scaled.stop(autoscaling.KEDA_NAMESPACE, autoscaling.KEDA_ADAPTER)
    autoscaling.install_prometheus(cluster, scaled.binaries)
    began = time.monotonic()
    faults.await_told("KEDA's adapter gone", "AdapterMissing", "HorizontalPodAutoscaler", began)

    began = time.monotonic()
    remove_keda(scaled.installed.kubectl)
    faults.await_told("KEDA removed", "AdapterMissing", "KEDA is not installed", began)

    autoscaling.install(cluster)
    awake.wait_reason("ScalingActive", "Active")
    await_deployment(awake, ".spec.replicas", 1, FEWER_SECONDS)
    faults.report()
