"""Looking for markers in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Iterable


def first_of(text: str, markers: Iterable[str]) -> tuple[int, str] | None:
    """Position and marker of the earliest whole marker in `text`; the longest where several begin there."""
    found = [(text.find(marker), -len(marker), marker) for marker in markers]
    hits = [hit for hit in found if hit[0] >= 0]
    return (min(hits)[0], min(hits)[2]) if hits else None


def safe_length(text: str, markers: Iterable[str]) -> int:
    """How much of `text` can be let go: all but a tail that may be the beginning of a marker."""
    longest = 0
    for marker in markers:
        for size in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:size]):
                longest = size
                break
    return len(text) - longest
