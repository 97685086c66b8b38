"""The condition ScalingActive: whether replicas follow the load, proved and not assumed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.reasons import Reason
from gemma_operator.status.verdict import Verdict

STALE_SECONDS = 120
"""Age of the newest sample: four scrapes at the usual 30 s."""
FIRST_SCRAPE_SECONDS = 60
"""A pod that has been ready for less may not have been scraped yet."""
ACT_SECONDS = 45
"""A running autoscaler writes the status of a new object within seconds; KEDA reads every 15 s."""
GRACE_SECONDS = 20.0
"""A failure that lasts has to be told, one slow answer has not: KEDA and the HPA look again after 15 s."""

_NO_API = (
    "no external metrics api",
    "no custom metrics api",
    "could not find the requested resource",
    # What an HPA says while the adapter's APIService is there and no pod of it is.
    "no known available metric versions",
)
_NO_SERVER = (
    "unable to handle the request",
    "service unavailable",
    "connection refused",
    "no endpoints",
    # KEDA's adapter, when KEDA's operator is gone.
    "establish grpc connection",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the metric source answered to one query of the autoscaler."""

    query: str
    metric: str
    value: float | None
    """None: nothing."""
    error: str | None = None
    """Why there was no answer at all."""
    age_seconds: float | None = None
    """Of the newest sample."""
    elsewhere: tuple[str, ...] = ()
    """Label sets of the same metric that the query does not select."""
    is_assumed: bool = False
    """There is no series; `value` is what the query takes that for, since there may be no pods."""


@dataclass(frozen=True, slots=True)
class ScalingState:
    """Everything that the verdict rests on, beside pods."""

    is_arranged: bool
    """Whether anything is there to move the replicas."""
    sentence: str
    """What moves them, and why that; or what is missing."""
    place: str
    """Of the metric source, in words."""
    most: int
    """Replicas there may be now."""
    may_be_zero: bool
    readings: tuple[Reading, ...] = ()
    autoscalers: tuple[Manifest, ...] = ()
    """ScaledObject and HPA, as they are in the cluster."""
    failing_seconds: float = GRACE_SECONDS
    """For how long the source has failed to answer, or an autoscaler to read its metrics, without a break."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The pods, as far as scaling is concerned."""

    desired: int
    ready: int
    oldest_ready: str | None
    """Since when any takes requests."""
    unplaced: str | None
    """Why a pod has no place, in the scheduler's words."""


def is_failing(readings: Sequence[Reading], autoscalers: Sequence[Manifest]) -> bool:
    """Whether the source did not answer, or an autoscaler says that it cannot read its metrics."""
    return any(reading.error is not None for reading in readings) or any(
        _trouble(scaler) is not None for scaler in autoscalers
    )


def scaling_verdict(state: ScalingState, fleet: Fleet, now: str, stood: Verdict | None = None) -> Verdict:
    """From the arrangement to the metric to the autoscaler to its effect: the first that fails speaks.

    What `stood` until now stays while a failure may still be a single slow answer.
    """
    if not state.is_arranged:
        return Verdict.false(Reason.ADAPTER_MISSING, state.sentence)
    is_measurable = _is_measurable(fleet, now)
    if not state.may_be_zero and not is_measurable:
        return Verdict.unknown(
            Reason.WAITING, f"{state.sentence}. No pod has been ready long enough to measure"
        )
    if state.failing_seconds < GRACE_SECONDS and is_failing(state.readings, state.autoscalers):
        unsure = (
            f"{state.sentence}. {state.place} or the autoscaler's reading of it failed, and is tried again"
        )
        return stood or Verdict.unknown(Reason.WAITING, unsure)
    # With pods that ought to have been scraped, no series is no 0.
    readings = [replace(r, value=None) if r.is_assumed and is_measurable else r for r in state.readings]
    failed = next((verdict for reading in readings if (verdict := _doubt(reading, state))), None)
    if failed is not None:
        return failed
    return _reported(state, now) or _effect(state, fleet)


def _effect(state: ScalingState, fleet: Fleet) -> Verdict:
    if fleet.unplaced is not None and fleet.ready < fleet.desired:
        return Verdict.true(
            Reason.NO_CAPACITY, f"{state.sentence}. It asks for pods that have no place: {fleet.unplaced}"
        )
    if fleet.desired >= state.most and _wants_more(state.autoscalers):
        return Verdict.true(
            Reason.AT_MAXIMUM, f"{state.sentence}. It would go beyond maxReplicas {state.most}"
        )
    return Verdict.true(Reason.ACTIVE, state.sentence)


def _is_measurable(fleet: Fleet, now: str) -> bool:
    return fleet.oldest_ready is not None and _seconds(fleet.oldest_ready, now) >= FIRST_SCRAPE_SECONDS


def _doubt(reading: Reading, state: ScalingState) -> Verdict | None:
    asked = f"query: {reading.query}"
    if reading.error is not None:
        return Verdict.false(
            Reason.METRIC_MISSING, f"{state.place} does not answer: {reading.error}; {asked}"
        )
    if reading.value is None and reading.elsewhere:
        found = "; ".join(reading.elsewhere)
        return Verdict.false(
            Reason.LABEL_MISMATCH,
            f"{state.place} has {reading.metric}, but with other labels than are asked for: {found}. Let the"
            f" scrape keep namespace and model; {asked}",
        )
    if reading.value is None:
        return Verdict.false(
            Reason.METRIC_MISSING,
            f"{state.place} has no series of {reading.metric}: are the pods scraped, and by this server?"
            f" {asked}",
        )
    if reading.age_seconds is not None and reading.age_seconds > STALE_SECONDS:
        return Verdict.false(
            Reason.METRIC_STALE,
            f"{state.place}: the newest sample of {reading.metric} is older than {STALE_SECONDS} s; {asked}",
        )
    return None


def _reported(state: ScalingState, now: str) -> Verdict | None:
    """What the autoscaler says of itself, where that is bad."""
    if not state.autoscalers:
        return Verdict.unknown(Reason.WAITING, f"{state.sentence}. Its object is yet to be made")
    for scaler in state.autoscalers:
        name = f"{scaler['kind']} {scaler['metadata']['name']}"
        if not _told(scaler):
            if _seconds(scaler["metadata"].get("creationTimestamp", now), now) < ACT_SECONDS:
                return Verdict.unknown(Reason.WAITING, f"{state.sentence}. Nothing has acted on {name} yet")
            return Verdict.false(
                Reason.ADAPTER_MISSING, f"nothing acts on {name}: is its controller installed and running?"
            )
        trouble = _trouble(scaler)
        if trouble is not None:
            return Verdict.false(_reason_of(trouble), f"{state.sentence}. {name} reports: {trouble}")
    return None


def _trouble(scaler: Manifest) -> str | None:
    by_type = {condition["type"]: condition for condition in _told(scaler)}
    if scaler["kind"] == "ScaledObject":
        ready, fallback = by_type.get("Ready", {}), by_type.get("Fallback", {})
        if fallback.get("status") == "True":
            told = fallback.get("message", "")
            return f"it cannot read its metrics, and holds the replicas there are ({told})"
        return str(ready.get("message", "")) or "not ready" if ready.get("status") == "False" else None
    active = by_type.get("ScalingActive", {})
    # Disabled is what an HPA is at zero replicas: KEDA brings the first one.
    if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
        return f"{active.get('reason')}: {active.get('message')}"
    return _unread(scaler) if active.get("status") == "True" else None


def _unread(scaler: Manifest) -> str | None:
    """An HPA that reads one of its metrics calls itself active; those that it cannot read have to be told."""
    wanted = _pods_metrics((scaler.get("spec") or {}).get("metrics"))
    read = _pods_metrics(scaler["status"].get("currentMetrics"))
    lacking = [name for name in wanted if name not in read]
    if not lacking:
        return None
    return (
        f"it cannot read {', '.join(lacking)}: the metrics API does not have it; it follows {', '.join(read)}"
    )


def _pods_metrics(metrics: Sequence[Manifest] | None) -> list[str]:
    """Names, in order; the status of a metric that cannot be read is empty."""
    return [each["pods"]["metric"]["name"] for each in metrics or () if "pods" in each]


def _told(scaler: Manifest) -> Sequence[Manifest]:
    return (scaler.get("status") or {}).get("conditions") or ()


def _reason_of(trouble: str) -> Reason:
    words = trouble.lower()
    is_missing = any(part in words for part in (*_NO_API, *_NO_SERVER))
    return Reason.ADAPTER_MISSING if is_missing else Reason.METRIC_MISSING


def _wants_more(autoscalers: Sequence[Manifest]) -> bool:
    return any(
        condition["type"] == "ScalingLimited"
        and condition["status"] == "True"
        and condition.get("reason") == "TooManyReplicas"
        for scaler in autoscalers
        for condition in _told(scaler)
    )


def _seconds(since: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()
