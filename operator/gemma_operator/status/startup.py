"""How long a pod took to serve, phase by phase, from what the kubelet noted of it. Pure."""

from dataclasses import dataclass
from datetime import datetime

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.v1alpha1 import StartupPhaseName, StartupStatus
from gemma_operator.planning.plan import Plan
from gemma_operator.planning.startup import FETCH_BYTES_PER_SECOND

ENGINE_CONTAINER = "triton"
WEIGHTS_CONTAINER = "weights"


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds of each phase, for one pod."""

    seconds: dict[StartupPhaseName, int]


def startup_of(pod: Manifest) -> Startup | None:
    """What there is to know of a pod that is ready; None where its engine was restarted."""
    status = pod.get("status") or {}
    conditions = {found["type"]: found.get("lastTransitionTime") for found in status.get("conditions") or ()}
    engine = _container(status.get("containerStatuses"), ENGINE_CONTAINER)
    began = ((engine or {}).get("state") or {}).get("running", {}).get("startedAt")
    scheduled, ready = conditions.get("PodScheduled"), conditions.get("Ready")
    if engine is None or engine.get("restartCount") or not (scheduled and ready and began):
        return None
    created = pod["metadata"].get("creationTimestamp")
    writers = [_ended(found) for found in status.get("initContainerStatuses") or ()]
    fetched = _ended(_container(status.get("initContainerStatuses"), WEIGHTS_CONTAINER) or {})
    running = sum(_between(*span) for span in writers if span is not None)
    seconds = {
        StartupPhaseName.SCHEDULED: _between(created, scheduled),
        # Whatever lies between, and is no init container at work: volumes, sandbox, images.
        StartupPhaseName.PULLED: max(0, _between(scheduled, began) - running),
        StartupPhaseName.SERVING: _between(began, ready),
    }
    if fetched is not None:
        seconds[StartupPhaseName.WEIGHTS] = _between(*fetched)
    return Startup(seconds)


def startup_status(
    plan: Plan | None, fetches: bool, pods: list[Startup], previous: list[StartupStatus], is_same: bool
) -> list[StartupStatus]:
    """The ledger: predicted before, and observed of the first pod of a template that served.

    Later pods of it change nothing, so that the status is not written for each. `fetches`: whether pods fetch
    their own weights; `is_same`: whether `previous` is about the template in force.
    """
    if plan is None or (is_same and any(entry.seconds is not None for entry in previous)):
        return previous
    predicted = {StartupPhaseName.SERVING: round(plan.predicted_load_seconds)}
    if fetches:
        size = sum(weights.size_bytes for weights in plan.fetched)
        predicted[StartupPhaseName.WEIGHTS] = round(size / FETCH_BYTES_PER_SECOND)
    observed = pods[0].seconds if pods else {}
    return [
        StartupStatus(phase=phase, predicted_seconds=predicted.get(phase), seconds=observed.get(phase))
        for phase in StartupPhaseName
        if phase in predicted or phase in observed
    ]


def _container(statuses: list[Manifest] | None, name: str) -> Manifest | None:
    return next((found for found in statuses or () if found["name"] == name), None)


def _ended(container: Manifest) -> tuple[str, str] | None:
    ended = (container.get("state") or {}).get("terminated") or {}
    began, finished = ended.get("startedAt"), ended.get("finishedAt")
    return (began, finished) if began and finished else None


def _between(begin: str | None, end: str | None) -> int:
    if not begin or not end:
        return 0
    return max(0, int((datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()))
