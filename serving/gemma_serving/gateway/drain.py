"""How a replica goes away without cutting anybody off.

SIGTERM → unready, still serving, until the endpoint is removed everywhere → new requests get 503 and
`Connection: close` → running requests end, or the drain time does → the hand-shake file tells Triton's
container that it may go. Nothing on the network can start this.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Protocol

from gemma_serving.gateway.errors import ApiError, draining

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 1
CUT_GRACE_SECONDS = 2.0
"""For the last error events to reach their clients."""


class Phase(Enum):
    """Where a replica is between coming and going."""

    SERVING = "serving"
    LEAVING = "leaving"
    """Unready; requests still come until the endpoint is removed."""
    REFUSING = "refusing"
    """New requests get 503."""


class Cuttable(Protocol):
    """A running request."""

    def cut(self, error: ApiError) -> None:
        """End it with an error."""
        ...


class Drain:
    """Counts running requests, and ends a replica's life in order."""

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._live: set[Cuttable] = set()

    @property
    def leaving(self) -> bool:
        """Whether the replica should get no more requests."""
        return self.phase is not Phase.SERVING

    @property
    def active(self) -> int:
        """HTTP requests in progress."""
        return self._active

    @contextmanager
    def request(self) -> Iterator[None]:
        """Bracket of one HTTP request; raises ApiError 503 once new work is refused."""
        if self.phase is Phase.REFUSING:
            raise draining(RETRY_AFTER_SECONDS)
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    @contextmanager
    def cuttable(self, run: Cuttable) -> Iterator[None]:
        """Bracket of one generation, which the end of the drain time cuts."""
        self._live.add(run)
        try:
            yield
        finally:
            self._live.discard(run)

    async def run(self, removal_seconds: float, drain_seconds: float) -> None:
        """Go through the phases; returns when nothing runs any more."""
        self.phase = Phase.LEAVING
        log.info(
            "draining: unready, %d requests run, waiting %.0f s for endpoint removal",
            self._active,
            removal_seconds,
        )
        await asyncio.sleep(removal_seconds)
        self.phase = Phase.REFUSING
        log.info("draining: new requests are refused, %d run, up to %.0f s", self._active, drain_seconds)
        if await self._idle_within(drain_seconds):
            log.info("draining: done")
            return
        log.warning("draining: %d requests still run after %.0f s and are cut", self._active, drain_seconds)
        for run in tuple(self._live):
            run.cut(draining(RETRY_AFTER_SECONDS))
        await self._idle_within(CUT_GRACE_SECONDS)

    async def _idle_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


def write_handshake(path: Path) -> None:
    """Tell Triton's preStop hook that the gateway is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("drained\n")
