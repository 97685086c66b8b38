"""One line for each GemmaDeployment, from its own status: what `gemma-operator status` shows. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.reasons import ConditionType


@dataclass(frozen=True, slots=True)
class EndpointLine:
    """An endpoint as its status tells it."""

    namespace: str
    name: str
    variant: str
    accelerator: str
    ready: str
    """Ready of desired replicas, as `2/2`."""
    is_ready: bool
    reason: str
    """Of the condition Ready."""
    summary: str
    loaded_ratio: float | None
    """Share of the weights' bytes that are there, while they are fetched."""
    is_current: bool
    """Whether the status is about the spec as it is now."""
    is_up_to_date: bool


def fleet_lines(resources: Iterable[Manifest]) -> list[EndpointLine]:
    """What needs a look comes first: what is not ready, then by namespace and name."""
    lines = [_line(resource) for resource in resources]
    return sorted(lines, key=lambda line: (line.is_ready, line.namespace, line.name))


def _line(resource: Manifest) -> EndpointLine:
    metadata, status = resource["metadata"], resource.get("status") or {}
    conditions = {found.get("type"): found for found in status.get("conditions") or ()}
    ready = conditions.get(ConditionType.READY.value, {})
    return EndpointLine(
        namespace=metadata["namespace"],
        name=metadata["name"],
        variant=str((resource.get("spec") or {}).get("model", {}).get("variant", "")),
        accelerator=status.get("accelerator") or "–",
        ready=status.get("ready") or "–",
        is_ready=ready.get("status") == "True",
        reason=ready.get("reason") or "Unseen",
        summary=status.get("summary") or "No operator has looked at it yet.",
        loaded_ratio=_loaded(status, conditions),
        is_current=status.get("observedGeneration") == metadata.get("generation"),
        is_up_to_date=conditions.get(ConditionType.UP_TO_DATE.value, {}).get("status") != "False",
    )


def _loaded(status: Manifest, conditions: Mapping[str, Any]) -> float | None:
    weights = status.get("weights") or {}
    done, total = weights.get("bytesDone"), weights.get("bytesTotal")
    is_there = conditions.get(ConditionType.WEIGHTS_READY.value, {}).get("status") == "True"
    return None if is_there or done is None or not total else min(done / total, 1.0)
