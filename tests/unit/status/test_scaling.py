"""ScalingActive: each reason from what causes it, and the query in the message."""

from dataclasses import replace
from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.reasons import Reason
from gemma_operator.status.scaling import GRACE_SECONDS, Fleet, Reading, ScalingState, scaling_verdict
from gemma_operator.status.verdict import Verdict

NOW = "2026-11-25T10:00:00Z"
QUERY = 'sum(gemma_requests_waiting{namespace="team-a",model="assistant"})'
GOOD = Reading(QUERY, "gemma_requests_waiting", 3.0, age_seconds=5)
FLEET = Fleet(desired=2, ready=2, oldest_ready="2026-11-25T09:00:00Z", unplaced=None)


def scaler(
    kind: str, *conditions: tuple[str, str, str, str], created: str = "2026-11-25T09:00:00Z"
) -> Manifest:
    told = [dict(zip(("type", "status", "reason", "message"), each, strict=True)) for each in conditions]
    return {
        "kind": kind,
        "metadata": {"name": "assistant", "creationTimestamp": created},
        "status": {"conditions": told} if told else {},
    }


READY = scaler("ScaledObject", ("Ready", "True", "ScaledObjectReady", ""), ("Fallback", "False", "", ""))
SCALING = scaler("HorizontalPodAutoscaler", ("ScalingActive", "True", "ValidMetricFound", ""))
STATE = ScalingState(
    is_arranged=True,
    sentence="KEDA is installed",
    place="Prometheus at http://p:9090",
    most=3,
    may_be_zero=False,
    readings=(GOOD,),
    autoscalers=(READY, SCALING),
)


def told(fleet: Fleet = FLEET, **changes: Any) -> tuple[str, str, str]:
    verdict = scaling_verdict(replace(STATE, **changes), fleet, NOW)
    return verdict.status.value, verdict.reason.value, verdict.message


def test_a_metric_that_answers_and_a_scaler_that_follows_are_active() -> None:
    assert told() == ("True", "Active", "KEDA is installed")


@pytest.mark.parametrize(
    ("reading", "reason", "words"),
    [
        (replace(GOOD, value=None, error="no answer within 3 s"), "MetricMissing", "no answer within 3 s"),
        (replace(GOOD, value=None), "MetricMissing", "has no series of gemma_requests_waiting"),
        (
            replace(GOOD, value=None, elsewhere=('{exported_namespace="team-a", model="assistant"}',)),
            "LabelMismatch",
            "exported_namespace",
        ),
        (replace(GOOD, age_seconds=600), "MetricStale", "older than 120 s"),
    ],
    ids=["down", "no series", "other labels", "stale"],
)
def test_a_bad_metric_is_told_with_its_query(reading: Reading, reason: str, words: str) -> None:
    status, found, message = told(readings=(GOOD, reading))
    assert (status, found) == ("False", reason)
    assert words in message
    assert QUERY in message


def test_nothing_installed_is_an_adapter_missing() -> None:
    assert told(is_arranged=False, sentence="Install KEDA") == ("False", "AdapterMissing", "Install KEDA")


def test_an_object_that_nobody_acts_on_is_an_adapter_missing_once_time_has_passed() -> None:
    assert told(autoscalers=(scaler("ScaledObject"),))[:2] == ("False", "AdapterMissing")
    fresh = scaler("ScaledObject", created="2026-11-25T09:59:50Z")
    assert told(autoscalers=(fresh,))[:2] == ("Unknown", "Waiting")


def hpa_failing(message: str) -> Manifest:
    return scaler("HorizontalPodAutoscaler", ("ScalingActive", "False", "FailedGetExternalMetric", message))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("no external metrics API (external.metrics.k8s.io) registered", "AdapterMissing"),
        ("the server is currently unable to handle the request", "AdapterMissing"),
        ("from custom metrics API: no known available metric versions found", "AdapterMissing"),
        ("the server could not find the metric gemma_requests_waiting for pods", "MetricMissing"),
        (
            "timeout while waiting to establish gRPC connection to KEDA Metrics Service server",
            "AdapterMissing",
        ),
        ("no matching metrics found for composite-metric", "MetricMissing"),
    ],
)
def test_a_scaler_that_contradicts_the_source_is_believed(message: str, reason: str) -> None:
    status, found, text = told(autoscalers=(READY, hpa_failing(message)))
    assert (status, found) == ("False", reason)
    assert message in text


def followed(name: str) -> Manifest:
    return {"type": "Pods", "pods": {"metric": {"name": name}}}


def test_an_hpa_that_reads_one_of_two_metrics_is_not_active_whatever_it_says() -> None:
    names = ("gemma_requests_waiting", "gemma_requests_running")
    wanted = [followed(name) for name in names]
    partial = {**SCALING, "spec": {"metrics": wanted}}
    partial["status"] = {**SCALING["status"], "currentMetrics": [{"type": ""}, wanted[1]]}
    status, reason, message = told(autoscalers=(partial,))
    assert (status, reason) == ("False", "MetricMissing")
    assert "cannot read gemma_requests_waiting" in message
    whole = {**partial, "status": {**SCALING["status"], "currentMetrics": wanted}}
    assert told(autoscalers=(whole,))[:2] == ("True", "Active")


FAILED = replace(GOOD, value=None, error="no answer within 3 s")
STOOD = Verdict.true(Reason.AT_MAXIMUM, "as before")


@pytest.mark.parametrize(
    "failure",
    [{"readings": (GOOD, FAILED)}, {"autoscalers": (READY, hpa_failing("no matching metrics found"))}],
    ids=["source", "autoscaler"],
)
def test_what_stood_stays_until_a_failure_has_lasted(failure: dict[str, Any]) -> None:
    def verdict(seconds: float, stood: Verdict | None) -> Verdict:
        return scaling_verdict(replace(STATE, failing_seconds=seconds, **failure), FLEET, NOW, stood)

    assert verdict(GRACE_SECONDS - 1, STOOD) == STOOD
    assert verdict(GRACE_SECONDS - 1, None).reason is Reason.WAITING
    assert verdict(GRACE_SECONDS, STOOD).reason is Reason.METRIC_MISSING


def test_other_labels_are_told_at_once() -> None:
    elsewhere = replace(GOOD, value=None, elsewhere=('{exported_namespace="team-a"}',))
    assert told(readings=(elsewhere,), failing_seconds=0.0)[1] == "LabelMismatch"


def test_a_fallback_in_force_is_no_activity() -> None:
    falling = scaler("ScaledObject", ("Ready", "True", "", ""), ("Fallback", "True", "FallbackExists", "s0"))
    status, reason, message = told(autoscalers=(falling, SCALING))
    assert (status, reason) == ("False", "MetricMissing")
    assert "holds the replicas" in message


def test_an_hpa_that_rests_at_zero_is_fine() -> None:
    resting = scaler("HorizontalPodAutoscaler", ("ScalingActive", "False", "ScalingDisabled", "zero"))
    none = Fleet(desired=0, ready=0, oldest_ready=None, unplaced=None)
    assert told(none, may_be_zero=True, autoscalers=(READY, resting))[:2] == ("True", "Active")


def test_the_maximum_is_told_only_while_more_is_wanted() -> None:
    limited = scaler(
        "HorizontalPodAutoscaler",
        ("ScalingActive", "True", "", ""),
        ("ScalingLimited", "True", "TooManyReplicas", ""),
    )
    full = replace(FLEET, desired=3, ready=3)
    assert told(full, autoscalers=(READY, limited))[:2] == ("True", "AtMaximum")
    assert told(full)[1] == "Active"


def test_pods_without_a_place_are_no_capacity_in_the_schedulers_words() -> None:
    lacking = replace(FLEET, desired=3, unplaced="0/4 nodes are available: 4 Insufficient nvidia.com/gpu")
    status, reason, message = told(lacking)
    assert (status, reason) == ("True", "NoCapacity")
    assert "Insufficient nvidia.com/gpu" in message


def test_a_pod_that_has_just_become_ready_is_given_time_to_be_scraped() -> None:
    young = replace(FLEET, oldest_ready="2026-11-25T09:59:30Z")
    assert told(young, readings=(replace(GOOD, value=None),))[:2] == ("Unknown", "Waiting")


def test_without_pods_no_series_is_nothing_waiting_and_with_pods_it_is_a_broken_scrape() -> None:
    assumed = replace(GOOD, value=0.0, age_seconds=None, is_assumed=True, elsewhere=('{model="assistant"}',))
    none = Fleet(desired=0, ready=0, oldest_ready=None, unplaced=None)
    assert told(none, may_be_zero=True, readings=(assumed,))[:2] == ("True", "Active")
    assert told(may_be_zero=True, readings=(assumed,))[:2] == ("False", "LabelMismatch")
    assert told(may_be_zero=True, readings=(replace(assumed, elsewhere=()),))[1] == "MetricMissing"
