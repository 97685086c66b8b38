"""Which LoRA adapters this replica is to serve, which its engine has, and what brings the two together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gemma_serving.contract import AdapterState, ContractError
from gemma_serving.gateway.health import EngineHealth
from gemma_serving.gateway.upstream import Upstream, UpstreamError

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
RETRY_SECONDS = 30.0
"""After a failure: its files may come, and the next pod of this replica may be far."""


class Loading(StrEnum):
    """How an adapter is on this replica."""

    LOADED = "Loaded"
    LOADING = "Loading"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class AdapterReport:
    """One adapter that is wanted here."""

    name: str
    state: Loading
    message: str | None = None
    """Why it failed."""


class Adapters:
    """What runtime.json asks for, held against what the engine says it has."""

    def __init__(self, at_start: Mapping[str, str], health: EngineHealth) -> None:
        self._wanted = dict(at_start)
        # An engine has loaded these before it answers at all.
        self._found = {name: AdapterState(name, path) for name, path in at_start.items()}
        self._health = health

    @property
    def wanted(self) -> dict[str, str]:
        """Name to path inside the pod."""
        return self._wanted

    def take_up(self, wanted: Mapping[str, str]) -> None:
        """Serve these from now on, each as soon as it is loaded."""
        self._wanted = dict(wanted)

    def loaded(self) -> list[str]:
        """Those that answer requests."""
        return [report.name for report in self.reports() if report.state is Loading.LOADED]

    def reports(self) -> list[AdapterReport]:
        """One for each wanted adapter."""
        found = self._engines()
        return [_report(name, path, found.get(name)) for name, path in self._wanted.items()]

    def is_settled(self) -> bool:
        """Whether the engine has exactly what is wanted."""
        found = self._engines()
        has = {name: state.path for name, state in found.items() if state.failure is None}
        return has == self._wanted

    def _engines(self) -> dict[str, AdapterState]:
        stats = self._health.stats
        if stats is not None and stats.adapters is not None:
            self._found = {state.name: state for state in stats.adapters}
        return self._found


def _report(name: str, path: str, state: AdapterState | None) -> AdapterReport:
    if state is None or state.path != path:
        return AdapterReport(name, Loading.LOADING)
    if state.failure is not None:
        return AdapterReport(name, Loading.FAILED, state.failure)
    return AdapterReport(name, Loading.LOADED)


class AdapterKeeper:
    """Asks the engine to hold what is wanted, whenever it does not: after an edit, and after its restart."""

    def __init__(self, upstream: Upstream, adapters: Adapters, health: EngineHealth) -> None:
        self._upstream = upstream
        self._adapters = adapters
        self._health = health
        self._asked: dict[str, str] | None = None
        self._asked_at = float("-inf")
        self._told: list[AdapterReport] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(LOOK_SECONDS)

    async def check(self) -> None:
        """One round."""
        wanted, now = dict(self._adapters.wanted), time.monotonic()
        if not self._health.started or self._health.stats is None or self._adapters.is_settled():
            return
        if wanted == self._asked and now - self._asked_at < RETRY_SECONDS:
            return
        self._asked, self._asked_at = wanted, now
        try:
            self._health.saw_stats(await self._upstream.adapt(wanted))
        except (UpstreamError, TimeoutError, ContractError) as error:
            log.warning("the engine was asked for other adapters and did not answer: %s", error)
            return
        self._tell()

    def _tell(self) -> None:
        """Log how it is, once for as long as it is so."""
        reports = self._adapters.reports()
        if reports == self._told:
            return
        self._told = reports
        for report in reports:
            if report.state is not Loading.LOADED:
                log.warning("adapter %s is not loaded: %s", report.name, report.message or "not yet")
        log.info("adapters: %s", ", ".join(self._adapters.loaded()) or "none")
