"""Showing text while a stop string may be under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

INCOMPLETE_CHARACTER: Final = "\ufffd"
"""What a detokeniser puts for bytes that are not yet a character."""


def showable(text: str, stop: Sequence[str]) -> int:
    """Return how many characters of the text so far can be shown.

    Held back are the longest ending that may become one of the stop strings, and characters that are not
    whole yet.
    """
    whole = len(text.rstrip(INCOMPLETE_CHARACTER))
    longest = max((len(each) for each in stop), default=0)
    for held in range(min(longest - 1, whole), 0, -1):
        if any(each.startswith(text[whole - held : whole]) for each in stop):
            return whole - held
    return whole
