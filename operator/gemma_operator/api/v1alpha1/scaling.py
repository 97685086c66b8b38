"""`spec.scaling`: how many replicas there may be, what their number follows, and when other bounds hold."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from gemma_operator.api.base import ApiModel, cel
from gemma_operator.api.cron import CronError, check_cron, check_time_zone

_BOUNDS = "maxReplicas must be at least minReplicas, and at least 1"
_ZERO = "minReplicas 0 needs KEDA: an HPA does not wake what has no pods. Use backend KEDA or Auto"
_RATIO = "target of KVCacheUtilization is a share above 0 and up to 1, such as 0.8"
_SIGNALS_DIFFER = "each signal once: additionalSignals may not repeat signal, nor each other"

_CRON_CHARACTERS = r"^[-0-9A-Za-z*,/ ]+$"


class Signal(StrEnum):
    """What users feel, and replicas follow."""

    WAITING_REQUESTS = "WaitingRequests"
    KV_CACHE_UTILIZATION = "KVCacheUtilization"
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"


class ScalingBackend(StrEnum):
    """What moves the replicas."""

    AUTO = "Auto"
    KEDA = "KEDA"
    HPA = "HPA"


Target = Annotated[float, Field(ge=0.001, le=100000)]
"""In the unit of its signal."""


def _ratio_fits(signal: Signal, target: float | None) -> bool:
    return signal is not Signal.KV_CACHE_UTILIZATION or target is None or target <= 1


class AdditionalSignal(ApiModel):
    """A further signal: of all signals, the one that asks for the most replicas wins."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("self.signal != 'KVCacheUtilization' || !has(self.target) || self.target <= 1.0", _RATIO)
        )
    )

    signal: Signal
    """What to follow."""
    target: Target | None = Field(default=None)
    """As `scaling.target`."""

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        if not _ratio_fits(self.signal, self.target):
            raise ValueError(_RATIO)
        return self


class Schedule(ApiModel):
    """Other bounds between two points in time, again and again."""

    model_config = ConfigDict(
        json_schema_extra=cel(("self.maxReplicas >= self.minReplicas && self.maxReplicas >= 1", _BOUNDS))
    )

    start: Annotated[str, StringConstraints(min_length=9, max_length=100, pattern=_CRON_CHARACTERS)]
    """When it begins, as five cron fields: `0 8 * * 1-5`."""
    end: Annotated[str, StringConstraints(min_length=9, max_length=100, pattern=_CRON_CHARACTERS)]
    """When it ends, as five cron fields."""
    time_zone: Annotated[
        str, StringConstraints(min_length=1, max_length=64, pattern=r"^[-+_/A-Za-z0-9]+$")
    ] = Field(default="Etc/UTC")
    """IANA name of the time zone of both, such as `Europe/Berlin`."""
    min_replicas: Annotated[int, Field(ge=0, le=1000)]
    """`minReplicas` meanwhile."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """`maxReplicas` meanwhile."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        try:
            check_cron(self.start)
            check_cron(self.end)
            check_time_zone(self.time_zone)
        except CronError as error:
            raise ValueError(str(error)) from error
        if self.max_replicas < self.min_replicas:
            raise ValueError(_BOUNDS)
        return self


class ScalingSpec(ApiModel):
    """Replicas follow the load, within bounds."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("self.maxReplicas >= (has(self.minReplicas) ? self.minReplicas : 1)", _BOUNDS),
            (
                "!has(self.backend) || self.backend != 'HPA'"
                " || ((!has(self.minReplicas) || self.minReplicas > 0)"
                " && (!has(self.schedules) || self.schedules.all(s, s.minReplicas > 0)))",
                _ZERO,
            ),
            (
                "!has(self.signal) || self.signal != 'KVCacheUtilization' || !has(self.target)"
                " || self.target <= 1.0",
                _RATIO,
            ),
            (
                "!has(self.additionalSignals) || self.additionalSignals.all(a,"
                " a.signal != (has(self.signal) ? self.signal : 'WaitingRequests')"
                " && self.additionalSignals.exists_one(b, b.signal == a.signal))",
                _SIGNALS_DIFFER,
            ),
        )
    )

    min_replicas: Annotated[int, Field(ge=0, le=1000)] = Field(default=1)
    """Fewest replicas. 0: none while nobody asks; the first request waits. Needs KEDA and a front door."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Most replicas."""
    signal: Signal = Field(default=Signal.WAITING_REQUESTS)
    """What replicas follow."""
    target: Target | None = Field(default=None)
    """Requests waiting for each replica (4), share of the KV cache (0.8), or p90 seconds to the first token
    (the objective of `monitoring`, or 2)."""
    additional_signals: Annotated[list[AdditionalSignal], Field(max_length=2)] = Field(default=[])
    """Further signals; the one that asks for the most replicas wins."""
    backend: ScalingBackend = Field(default=ScalingBackend.AUTO)
    """What moves the replicas. `Auto`: KEDA where it is installed, otherwise an HPA."""
    idle_seconds: Annotated[int, Field(ge=10, le=86400)] = Field(default=300)
    """With `minReplicas: 0`: without a request for so long, the last replica goes."""
    schedules: Annotated[list[Schedule], Field(max_length=8)] = Field(default=[])
    """Other bounds at certain times; the first that is in force counts."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        least = min([self.min_replicas, *(schedule.min_replicas for schedule in self.schedules)])
        named = [self.signal, *(more.signal for more in self.additional_signals)]
        checks = (
            (self.max_replicas >= self.min_replicas, _BOUNDS),
            (self.backend is not ScalingBackend.HPA or least > 0, _ZERO),
            (_ratio_fits(self.signal, self.target), _RATIO),
            (len(set(named)) == len(named), _SIGNALS_DIFFER),
        )
        for is_met, message in checks:
            if not is_met:
                raise ValueError(message)
        return self
