"""Authentication and limits of one gateway, whether or not keys are asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from gemma_serving.contract import AccessConfig, KeyLimits
from gemma_serving.gateway.access.keys import RELOAD_SECONDS, Consumer, KeyRing
from gemma_serving.gateway.access.limits import Limiter
from gemma_serving.gateway.access.usage import UsageBook
from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.metrics import Metrics

ANONYMOUS = "anonymous"
"""Consumer where no key is asked for."""


class Access:
    """Who may ask, how much, and how much was asked."""

    def __init__(self, config: AccessConfig | None, metrics: Metrics) -> None:
        self._metrics = metrics
        self.usage = UsageBook()
        self.keys: KeyRing | None
        self.limiter: Limiter
        self._in_force = config or AccessConfig()
        self._build(self._in_force)

    def take_up(self, config: AccessConfig | None) -> None:
        """Put another configuration into force; usage goes on.

        Raises OSError where a file of it is missing, and then leaves the old one in force: a folder of keys
        that only new pods mount would let nobody in. Limits counted in this process start anew.
        """
        config = config or AccessConfig()
        if config == self._in_force:
            return
        if config.keys_path is not None:
            os.stat(config.keys_path)
        self._build(config)
        self._in_force = config

    def _build(self, config: AccessConfig) -> None:
        limiter = Limiter(
            self._metrics, _url(config.limit_store_url_path), config.limit_store_failure == "Closed"
        )
        self.keys = None if config.keys_path is None else KeyRing(Path(config.keys_path), config.limits)
        self._anonymous = Consumer(ANONYMOUS, config.limits)
        self.limiter = limiter

    async def watch(self) -> None:
        """Reload the keys whenever their folder changes, until cancelled."""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            if self.keys is not None:
                await self.keys.refresh()

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Consumer:
        """Who asks; raises ApiError 401."""
        if self.keys is None:
            return self._anonymous
        presented = _presented(headers)
        consumer = self.keys.find(presented) if presented else None
        if consumer is None:
            raise _unauthorized(presented is not None)
        return consumer


def answer_limit(asked: int | None, limits: KeyLimits) -> int | None:
    """Longest answer: what was asked for, within the key's own cap."""
    cap = limits.tokens_per_request
    return asked if cap is None else cap if asked is None else min(asked, cap)


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        text = value.decode("latin-1").strip()
        if name == b"authorization" and text[:7].lower() == "bearer ":
            return text[7:].strip()
        if name in (b"api-key", b"x-api-key"):
            return text
    return None


def _unauthorized(presented: bool) -> ApiError:
    message = (
        "The API key is not valid."
        if presented
        else "No API key: send it as `Authorization: Bearer KEY`, with OpenAI clients as api_key."
    )
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def _url(path: str | None) -> str | None:
    return None if path is None else Path(path).read_text().strip()
