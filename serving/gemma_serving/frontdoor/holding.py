"""Requests for endpoints without pods: they wait, bounded in number and time, and are counted meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gemma_serving.frontdoor.fleet import Endpoint
from gemma_serving.gateway.errors import ApiError


class Waiting:
    """Who waits for what. One event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[Endpoint] = Counter()
        self._arrivals: dict[Endpoint, asyncio.Event] = defaultdict(asyncio.Event)

    def count(self, endpoint: Endpoint) -> int:
        """Requests that wait for a pod of the endpoint."""
        return self._counts[endpoint]

    def endpoints(self) -> list[Endpoint]:
        """What somebody has waited for since its last arrival."""
        return list(self._arrivals)

    def arrived(self, endpoint: Endpoint) -> None:
        """The endpoint has replicas, or is gone: everybody goes on."""
        event = self._arrivals.pop(endpoint, None)
        if event is not None:
            event.set()

    @asynccontextmanager
    async def place(self, endpoint: Endpoint) -> AsyncIterator[asyncio.Event]:
        """Be counted; yields what is set when a replica has come. Raises ApiError 429 when it is full."""
        if self._counts[endpoint] >= self._most:
            message = f"{endpoint} has no pods yet and {self._most} requests wait for one. Retry later."
            raise ApiError(429, message, "rate_limit_error", "rate_limit_exceeded", retry_after_seconds=30)
        self._counts[endpoint] += 1
        try:
            yield self._arrivals[endpoint]
        finally:
            self._counts[endpoint] -= 1


def gave_up(endpoint: Endpoint, seconds: float) -> ApiError:
    """503: no pod came in time."""
    message = f"{endpoint} has no pod that takes requests, and none came within {seconds:.0f} s. Retry later."
    return ApiError(503, message, "server_error", "no_replica", retry_after_seconds=30)


def deleted(endpoint: Endpoint) -> ApiError:
    """404: there will be no pod."""
    message = f"{endpoint} was deleted while the request waited for a pod."
    return ApiError(404, message, code="model_not_found", param="model")
