"""Requests and tokens per key: sliding windows of the `limits` library, in memory or in a Redis or Valkey.

Tokens are reserved before generating (an estimate of the prompt, and the longest answer asked for) and
settled afterwards: parallel requests cannot overdraw a budget, and what a stream did not use comes back.

"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from gemma_serving.contract import KeyLimits
from gemma_serving.gateway.access.keys import Consumer
from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.metrics import Metrics

log = logging.getLogger(__name__)

BYTES_PER_TOKEN = 3
"""Estimate of a prompt's tokens before it is tokenized: Gemma takes 3.5 to 4.5 bytes of English for one."""
DEFAULT_ANSWER_TOKENS = 512
"""Reserved for an answer whose length is left open; settled by what was really generated."""
STORE_TIMEOUT_SECONDS = 1.0
"""A store that is slower than that is taken for down."""
STORE_RETRY_SECONDS = 5.0
"""How long a store that failed is left alone."""


def prompt_tokens(prompt: str) -> int:
    """Estimate of a text's tokens."""
    return math.ceil(len(prompt.encode()) / BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Window:
    """One limit of a consumer."""

    unit: str
    """`requests` or `tokens`, as in the header names."""
    item: RateLimitItem


def windows(limits: KeyLimits) -> list[Window]:
    """The limits that are set."""
    made: list[Window] = []
    if limits.requests_per_minute is not None:
        made.append(Window("requests", RateLimitItemPerMinute(limits.requests_per_minute, namespace="rpm")))
    if limits.requests_per_hour is not None:
        made.append(Window("requests", RateLimitItemPerHour(limits.requests_per_hour, namespace="rph")))
    if limits.tokens_per_minute is not None:
        made.append(Window("tokens", RateLimitItemPerMinute(limits.tokens_per_minute, namespace="tpm")))
    return made


@dataclass(slots=True)
class Grant:
    """Leave to generate, to be settled with what was used."""

    headers: dict[str, str] = field(default_factory=dict)
    reserved_tokens: int = 0
    _token_item: RateLimitItem | None = None
    _limiter: SlidingWindowCounterRateLimiter | None = None
    _consumer: str = ""
    _at: float = field(default_factory=time.time)

    async def settle(self, used_tokens: int) -> None:
        """Give back what was reserved and not used, or count what was used beyond it."""
        if self._token_item is None or self._limiter is None:
            return
        difference = used_tokens - self.reserved_tokens
        if difference < 0 and not self._same_window():
            # The reservation has begun to fade with its window; giving it back in this one would grant more.
            return
        try:
            await self._limiter.hit(self._token_item, self._consumer, cost=difference)
        except (StorageError, TimeoutError, OSError) as error:
            log.warning("token usage of a request was not counted: %s", error)

    def _same_window(self) -> bool:
        assert self._token_item is not None
        seconds = self._token_item.get_expiry()
        return self._at // seconds == time.time() // seconds


class Limiter:
    """Limits of all consumers."""

    def __init__(self, metrics: Metrics, store_url: str | None, closed_on_failure: bool) -> None:
        self._metrics = metrics
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = None if store_url is None else SlidingWindowCounterRateLimiter(_store(store_url))
        self._closed = closed_on_failure
        self._retry_at = 0.0
        metrics.limit_store_up.set(1)

    async def admit(self, consumer: Consumer, tokens: int) -> Grant:
        """Count one request and reserve tokens; raises ApiError 429, or 503 where the store is down and
        Closed.
        """
        wanted = windows(consumer.limits)
        if not wanted:
            return Grant()
        if self._shared is not None and time.monotonic() >= self._retry_at:
            try:
                grant = await self._admit(self._shared, wanted, consumer.name, tokens)
            except (StorageError, TimeoutError, OSError) as error:
                self._store_failed(error)
            else:
                self._metrics.limit_store_up.set(1)
                return grant
        if self._shared is not None and self._closed:
            self._metrics.rejected("limit_store_down")
            message = "Limits cannot be checked: the store does not answer. Retry later."
            raise ApiError(503, message, "server_error", "limit_store_unavailable", retry_after_seconds=5)
        return await self._admit(self._local, wanted, consumer.name, tokens)

    async def headers(self, consumer: Consumer) -> Mapping[str, str]:
        """What is left, without counting anything."""
        limiter = self._local if self._shared is None or time.monotonic() < self._retry_at else self._shared
        try:
            return await _headers(limiter, windows(consumer.limits), consumer.name)
        except (StorageError, TimeoutError, OSError) as error:
            self._store_failed(error)
            return {}

    async def _admit(
        self, limiter: SlidingWindowCounterRateLimiter, wanted: list[Window], name: str, tokens: int
    ) -> Grant:
        grant = Grant(_limiter=limiter, _consumer=name)
        taken: list[tuple[RateLimitItem, int]] = []
        for window in wanted:
            # A request larger than the whole budget may run when the budget is untouched.
            cost = 1 if window.unit == "requests" else min(tokens, window.item.amount)
            if not await limiter.hit(window.item, name, cost=cost):
                for item, paid in taken:
                    await limiter.hit(item, name, cost=-paid)
                raise await self._refusal(limiter, window, wanted, name)
            taken.append((window.item, cost))
            if window.unit == "tokens":
                grant.reserved_tokens, grant._token_item = cost, window.item
        grant.headers = await _headers(limiter, wanted, name)
        return grant

    async def _refusal(
        self, limiter: SlidingWindowCounterRateLimiter, window: Window, wanted: list[Window], name: str
    ) -> ApiError:
        self._metrics.rejected(f"{window.unit}_limit")
        state = await limiter.get_window_stats(window.item, name)
        wait = max(1, math.ceil(state.reset_time - time.time()))
        per = "hour" if isinstance(window.item, RateLimitItemPerHour) else "minute"
        message = f"Rate limit reached: {window.item.amount} {window.unit} per {per}. Retry in {wait} s."
        headers = await _headers(limiter, wanted, name)
        return ApiError(
            429, message, "rate_limit_error", "rate_limit_exceeded", retry_after_seconds=wait, headers=headers
        )

    def _store_failed(self, error: Exception) -> None:
        log.error("the limit store failed: %s", type(error).__name__)
        self._metrics.limit_store_up.set(0)
        self._retry_at = time.monotonic() + STORE_RETRY_SECONDS


async def _headers(
    limiter: SlidingWindowCounterRateLimiter, wanted: list[Window], name: str
) -> dict[str, str]:
    """OpenAI's headers; of two windows of one unit, the one with less left."""
    headers: dict[str, str] = {}
    for unit in ("requests", "tokens"):
        states = [
            (await limiter.get_window_stats(w.item, name), w.item.amount) for w in wanted if w.unit == unit
        ]
        if states:
            state, amount = min(states, key=lambda pair: pair[0].remaining)
            headers[f"x-ratelimit-limit-{unit}"] = str(amount)
            headers[f"x-ratelimit-remaining-{unit}"] = str(max(0, state.remaining))
            headers[f"x-ratelimit-reset-{unit}"] = f"{max(0, math.ceil(state.reset_time - time.time()))}s"
    return headers


def _store(url: str) -> Storage:
    """A Redis or Valkey, by its URL."""
    return RedisStorage(
        f"async+{url}",
        wrap_exceptions=True,
        implementation="valkey",
        key_prefix="gemma",
        socket_timeout=STORE_TIMEOUT_SECONDS,
        socket_connect_timeout=STORE_TIMEOUT_SECONDS,
    )
