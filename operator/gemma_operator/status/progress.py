"""How far a fetch is, from the last line of its log."""

from dataclasses import dataclass
from typing import Any

_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
"""Decimal, as hubs and volumes are labelled."""
_COARSE_SECONDS = 90
"""From here on time is told in minutes: it is an estimate."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a fetch that goes on has said last; sizes in bytes."""

    bytes_done: int
    bytes_total: int
    bytes_per_second: int | None = None
    seconds_left: int | None = None
    revision: str | None = None
    """Commit that the revision was resolved to."""
    container: str = ""
    """Which of the pod's fetchers spoke."""

    def sentence(self) -> str:
        """Such as `12.3 of 54.9 GB, 210.0 MB/s, about 3 min left`."""
        unit, name = next((each for each in _UNITS if self.bytes_total >= each[0]), (1, "B"))
        parts = [f"{self.bytes_done / unit:.1f} of {self.bytes_total / unit:.1f} {name}"]
        if self.bytes_per_second:
            parts.append(f"{self.bytes_per_second / 10**6:.1f} MB/s")
        if self.seconds_left is not None:
            parts.append(f"about {_duration(self.seconds_left)} left")
        return ", ".join(parts)


def read_progress(line: Any, container: str) -> Progress | None:
    """The fetcher's JSON line; None for anything else, and before it knows what there is to fetch."""
    if not isinstance(line, dict):
        return None
    numbers = {name: _count(line.get(name)) for name in _NUMBERS}
    done, total = numbers["bytes_done"], numbers["bytes_total"]
    if done is None or not total:
        return None
    revision = line.get("revision")
    return Progress(
        bytes_done=done,
        bytes_total=total,
        bytes_per_second=numbers["bytes_per_second"],
        seconds_left=numbers["eta_seconds"],
        revision=revision if isinstance(revision, str) else None,
        container=container,
    )


_NUMBERS = ("bytes_done", "bytes_total", "bytes_per_second", "eta_seconds")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < _COARSE_SECONDS else f"{round(seconds / 60)} min"
