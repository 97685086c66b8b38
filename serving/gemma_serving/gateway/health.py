"""Is the engine loaded, answering, hung? One monitor asks once a second; probes only read what it found.

An engine is alive when it answered anything (a generation's event, a step in its statistics) within the
window. While the gateway is idle, a canary of one token makes sure that there is something to answer; it is
never sent while sequences run, so it never queues behind users, and neither a long generation nor a deep
queue looks like death.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum

from gemma_serving.contract import EngineStats, FailureCode, GenerateRequest
from gemma_serving.gateway.upstream import ModelState, Upstream, UpstreamError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
CANARY_SECONDS = 30.0
"""Idle time after which a canary is sent."""
WINDOW_SECONDS = 120.0
"""Longest an engine may stay without an answer or a step. A step is one forward pass: seconds on the
slowest CPU.
"""
DEAD_SECONDS = 10.0
"""Statistics refused for this long while Triton answers: the model's process is gone, and Triton does not
restart it.
"""
CANARY_PROMPT = "The"


class Verdict(Enum):
    """What `/enginez` says."""

    STARTING = "starting"
    ALIVE = "alive"
    HUNG = "hung"
    DEAD = "dead"


@dataclass(slots=True)
class EngineHealth:
    """What is known of the engine; all times are monotonic seconds."""

    started: bool = False
    """Loaded, and one real generation came back."""
    state: ModelState = ModelState.NOT_READY
    last_proof: float = field(default_factory=time.monotonic)
    """When the engine last answered or made a step."""
    refused_since: float | None = None
    """Since when statistics are answered with an error; None: they are answered."""
    last_step_unix: float = 0.0
    stats: EngineStats | None = None
    detail: str = "the engine has not answered yet"
    last_canary_seconds: float | None = None

    def answered(self) -> None:
        """The engine gave a sign of life."""
        self.last_proof = time.monotonic()

    def verdict(self, now: float) -> Verdict:
        """Judge at `now`."""
        if not self.started:
            return Verdict.STARTING
        if self.refused_since is not None and now - self.refused_since > DEAD_SECONDS:
            return Verdict.DEAD
        return Verdict.HUNG if now - self.last_proof > WINDOW_SECONDS else Verdict.ALIVE

    def ready(self, now: float) -> bool:
        """Whether requests can be answered."""
        return self.started and self.state is not ModelState.NOT_READY and self.verdict(now) is Verdict.ALIVE

    def saw_stats(self, stats: EngineStats) -> None:
        """Statistics came: a newer step is a sign of life, the answer alone is not."""
        self.stats = stats
        self.refused_since = None
        if stats.last_step_unix > self.last_step_unix:
            self.last_step_unix = stats.last_step_unix
            self.answered()

    def saw_no_stats(self, reason: str, now: float) -> None:
        """Statistics were refused."""
        self.stats = None
        self.detail = reason
        if self.refused_since is None:
            self.refused_since = now

    def saw_state(self, state: ModelState) -> None:
        """Triton said whether the model is loaded; a restarted one starts anew."""
        self.state = state
        if state is ModelState.NOT_READY and self.started:
            log.warning("the model is no longer loaded: waiting for it to start again")
            self.started = False
            self.refused_since = None
            self.last_step_unix = 0.0


class Monitor:
    """Keeps an EngineHealth up to date."""

    def __init__(self, upstream: Upstream, health: EngineHealth, idle: Callable[[], bool]) -> None:
        self._upstream = upstream
        self._health = health
        self._idle = idle
        self._canary: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.check()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            if self._canary is not None:
                self._canary.cancel()

    async def check(self) -> None:
        """One round."""
        health = self._health
        health.saw_state(await self._upstream.model_state())
        if health.state is not ModelState.READY:
            return
        if health.started:
            await self._ask_stats()
        busy_canary = self._canary is not None and not self._canary.done()
        due = not health.started or time.monotonic() - health.last_proof > CANARY_SECONDS
        if due and not busy_canary and self._idle():
            self._canary = asyncio.create_task(self._send_canary())

    async def _ask_stats(self) -> None:
        try:
            self._health.saw_stats(await self._upstream.stats())
        except TimeoutError:
            self._health.stats = None  # Silence is judged by the window.
        except UpstreamError as error:
            self._health.saw_no_stats(str(error), time.monotonic())

    async def _send_canary(self) -> None:
        """One generated token: proof that the whole path works."""
        request = GenerateRequest(id="canary", prompt=CANARY_PROMPT, max_tokens=1, temperature=0.0)
        began = time.monotonic()
        try:
            async with aclosing(self._upstream.generate(request)) as events:
                async for event in events:
                    if event.failed is not None and event.failed.code == FailureCode.ENGINE_ERROR:
                        raise UpstreamError(event.failed.message)
                    self._health.answered()
        except (UpstreamError, TimeoutError) as error:
            self._health.detail = str(error)
            log.warning("canary failed: %s", error)
            return
        self._health.last_canary_seconds = time.monotonic() - began
        if not self._health.started:
            log.info("started: the first generation came back after %.3f s", self._health.last_canary_seconds)
            self._health.started = True
