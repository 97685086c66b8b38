"""Which bounds are in force, and when that changes."""

from dataclasses import dataclass
from datetime import datetime

from gemma_operator.api.cron import first_after, last_before
from gemma_operator.api.v1alpha1 import ScalingSpec, Schedule


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most replicas."""

    least: int
    most: int
    changes_in_seconds: float | None = None
    """Until a schedule begins or ends."""
    schedule: str | None = None
    """Start, end and time zone of the schedule in force."""


def bounds_at(scaling: ScalingSpec, now: datetime) -> Bounds:
    """Those of the first schedule in force, otherwise those of `scaling` itself. `now` has a time zone."""
    changes = [
        (moment - now).total_seconds()
        for schedule in scaling.schedules
        for cron in (schedule.start, schedule.end)
        if (moment := first_after(cron, schedule.time_zone, now)) is not None
    ]
    soon = min(changes, default=None)
    for schedule in scaling.schedules:
        if _is_in_force(schedule, now):
            told = f"{schedule.start} to {schedule.end} {schedule.time_zone}"
            return Bounds(schedule.min_replicas, schedule.max_replicas, soon, told)
    return Bounds(scaling.min_replicas, scaling.max_replicas, soon)


def reaches_zero(scaling: ScalingSpec) -> bool:
    """Whether there may ever be no replicas."""
    return min([scaling.min_replicas, *(schedule.min_replicas for schedule in scaling.schedules)]) == 0


def _is_in_force(schedule: Schedule, now: datetime) -> bool:
    """Whether it began after it last ended."""
    began = last_before(schedule.start, schedule.time_zone, now)
    ended = last_before(schedule.end, schedule.time_zone, now)
    return began is not None and (ended is None or began > ended)
