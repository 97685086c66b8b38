"""`GET /v1/models` of the fleet: what a key may use, asked of those who know, the pods."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from gemma_serving.frontdoor.fleet import Endpoint, Fleet

ASK_SECONDS = 2.0
REMEMBERED_SECONDS = 30.0
MOST_REMEMBERED = 10_000
_KEY_HEADERS = ("authorization", "api-key", "x-api-key")


class Listing:
    """Asks one pod of each endpoint with the caller's own key, and remembers the answer for a while.

    Of an endpoint without pods the last answer for that key counts; without one, whether it asks for keys.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._client = httpx2.AsyncClient(timeout=ASK_SECONDS, trust_env=False)
        self._known: dict[tuple[str, Endpoint], tuple[float, dict[str, Any] | None]] = {}
        self._started = int(time.time())

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def cards(self, headers: Mapping[str, str]) -> list[dict[str, Any]]:
        """The models that the key in these headers may use."""
        sent = {name: headers[name] for name in _KEY_HEADERS if name in headers}
        names = self._fleet.names()
        endpoints = sorted({endpoint for _, endpoint in names})
        found = dict(
            zip(endpoints, await asyncio.gather(*(self._card(each, sent) for each in endpoints)), strict=True)
        )
        return [{**card, "id": name} for name, endpoint in names if (card := found[endpoint]) is not None]

    async def _card(self, endpoint: Endpoint, sent: Mapping[str, str]) -> dict[str, Any] | None:
        digest = hashlib.sha256(repr(sorted(sent.items())).encode()).hexdigest()
        known = self._known.get((digest, endpoint))
        state = self._fleet.endpoints.get(endpoint)
        if state is None:
            return None
        if not state.addresses:
            if known is not None:
                return known[1]
            return None if state.asks_for_keys else self._plain(endpoint)
        if known is not None and time.monotonic() - known[0] < REMEMBERED_SECONDS:
            return known[1]
        try:
            answer = await self._client.get(f"http://{min(state.addresses)}/v1/models", headers=dict(sent))
        except httpx2.HTTPError:
            return known[1] if known is not None else None
        card = answer.json()["data"][0] if answer.status_code == 200 else None
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[digest, endpoint] = (time.monotonic(), card)
        return card

    def _plain(self, endpoint: Endpoint) -> dict[str, Any]:
        return {"id": endpoint.name, "object": "model", "created": self._started, "owned_by": "google"}
