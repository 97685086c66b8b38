"""What both ways of `gemma-operator verify-gpu` judge alike: figures of a plan beside measured ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gemma_operator.planning.plan import Outlook, Plan

CACHE_TOLERANCE = 0.10
"""Relative: free memory after start-up differs by driver and by what else is on the accelerator."""
LOAD_FACTOR = 3.0
"""The startup budget of pods is three times the prediction."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the plan beside what was measured."""

    name: str
    planned: str
    measured: str
    is_met: bool


def cache_row(outlook: Outlook, found_tokens: int) -> Row:
    """The KV cache as the engine reports it."""
    tokens = outlook.kv_tokens
    is_met = abs(found_tokens - tokens) <= CACHE_TOLERANCE * tokens
    return Row("KV cache, tokens", f"{tokens}", f"{found_tokens}", is_met)


def seconds_row(name: str, predicted: float, measured: float) -> Row:
    """A part of the start; pods wait for three times the prediction."""
    most = LOAD_FACTOR * predicted
    return Row(name, f"{predicted:.0f}, at most {most:.0f}", f"{measured:.1f}", measured <= most)


def evidence(plan: Plan, report: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """What a row of the support matrix needs to say `verified`."""
    return {
        "variant": plan.variant,
        "engine": plan.engine.value,
        "version": plan.engine_version,
        "image": plan.image,
        "accelerator": plan.accelerator,
        "count": plan.count,
        "precision": plan.precision.value,
        "status": "verified" if all(row.is_met for row in rows) else "differs",
        "rows": [asdict(row) for row in rows],
        "report": report,
    }
