"""Whole parts and comparable versions; bytes and GiB are in `api.quantity`."""

import re
from functools import lru_cache

_LEADING_NUMBER = re.compile(r"\d+")


def ceil_div(numerator: int, denominator: int) -> int:
    """Whole number of parts of size `denominator` that hold `numerator`."""
    return -(-numerator // denominator)


@lru_cache(maxsize=1024)
def version_tuple(version: str) -> tuple[int, ...]:
    """Leading numbers of a version, so that versions compare: `0.19.1rc1` → (0, 19, 1)."""
    numbers: list[int] = []
    for part in version.split("."):
        match = _LEADING_NUMBER.match(part)
        if match is None:
            break
        numbers.append(int(match[0]))
        if match[0] != part:
            break
    return tuple(numbers)
