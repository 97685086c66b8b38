"""The last requests, for people who look without a Prometheus at hand."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 1000
"""Requests that are remembered: about 100 bytes each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished request; no text, no key."""

    ended_unix: float
    outcome: str
    seconds: float
    ttft_seconds: float | None
    completion_tokens: int


class Record:
    """The last requests of this replica."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)

    def add(self, outcome: str, seconds: float, ttft_seconds: float | None, completion_tokens: int) -> None:
        """Remember one request."""
        self._entries.append(Entry(time.time(), outcome, seconds, ttft_seconds, completion_tokens))

    def last(self, count: int) -> list[Entry]:
        """The newest requests, oldest first."""
        return list(self._entries)[-count:]


def success_percent(entries: Sequence[Entry]) -> float | None:
    """Of the requests that the service is to blame for; a caller's mistake or departure is none of them."""
    judged = [entry for entry in entries if entry.outcome in ("success", "failed", "rejected")]
    if not judged:
        return None
    return 100 * sum(entry.outcome == "success" for entry in judged) / len(judged)


def summary(entries: Sequence[Entry]) -> dict[str, Any]:
    """Counts, mean and 95th percentile of latency and time to first token (seconds), tokens per second."""
    good = [entry for entry in entries if entry.outcome == "success"]
    busy = sum(entry.seconds for entry in good)
    tokens = sum(entry.completion_tokens for entry in good)
    return {
        "requests": len(entries),
        "success_percent": success_percent(entries),
        "latency_seconds": _spread([entry.seconds for entry in good]),
        "ttft_seconds": _spread([entry.ttft_seconds for entry in good if entry.ttft_seconds is not None]),
        "tokens_per_second_per_request": tokens / busy if busy else None,
        "completion_tokens": tokens,
    }


def export(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The entries themselves."""
    return [asdict(entry) for entry in entries]


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    values.sort()
    return {"mean": sum(values) / len(values), "p95": values[math.ceil(0.95 * len(values)) - 1]}
