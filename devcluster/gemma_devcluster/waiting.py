"""Waiting for a condition of the world, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

from gemma_devcluster.errors import DevclusterError

POLL_SECONDS = 0.05

T = TypeVar("T")


def await_value(probe: Callable[[], T | None], seconds: float, what: str) -> T:
    """Call `probe` until it returns something.

    Raises:
        DevclusterError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while (value := probe()) is None:
        if time.monotonic() > deadline:
            raise DevclusterError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(POLL_SECONDS)
    return value
