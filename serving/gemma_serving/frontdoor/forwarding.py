"""One request to one pod: chosen, sent, sent again elsewhere while nothing has come back, and streamed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx2

from gemma_serving.frontdoor.balance import Balance
from gemma_serving.frontdoor.books import Books
from gemma_serving.frontdoor.config import FrontDoorConfig
from gemma_serving.frontdoor.fleet import Endpoint, Fleet, Target
from gemma_serving.frontdoor.holding import Waiting, deleted, gave_up
from gemma_serving.gateway.errors import ApiError

CONNECT_SECONDS = 1.0
"""Within a cluster a connection takes a millisecond; a node that is gone never answers."""
LAST_CONNECT_SECONDS = 5.0
"""For the only replica that is left to ask: where this process itself got no processor for a second, every
connection seems to time out, and going elsewhere gains nothing."""
MOST_ATTEMPTS = 4
"""Replicas asked, one after the other."""
OUTAGE_SECONDS = 10.0
"""How long pods that refuse connections are tried again: by then their endpoints are gone."""
LOOK_AGAIN_SECONDS = 0.25
PREFIX_CHARACTERS = 1024
"""Some 250 tokens: a system prompt and what tells conversations apart."""
ELSEWHERE = frozenset({502, 503})
"""A pod that drains, or has no engine: another one may take the request. So may one with room (429)."""
_OWN_HEADERS = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    prefix: str


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request as it goes to one replica."""

    url: str
    headers: Mapping[str, str]
    content: bytes
    timeout: httpx2.Timeout


@dataclass(slots=True)
class Answer:
    """What a pod answered; its first bytes are there already."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(slots=True)
class _Attempt:
    """What has been tried for one request."""

    deadline: float
    tried: set[str] = field(default_factory=set)
    count: int = 0
    refusal: Answer | None = None


class Forwarder:
    """Sends requests to pods."""

    def __init__(self, fleet: Fleet, waiting: Waiting, books: Books, config: FrontDoorConfig) -> None:
        self._fleet = fleet
        self._waiting = waiting
        self._books = books
        self._config = config
        self.balance = Balance()
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx2.AsyncClient(limits=limits, trust_env=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def has_replica(self, endpoint: Endpoint) -> bool:
        """Whether a request need not wait."""
        state = self._fleet.endpoints.get(endpoint)
        return state is not None and bool(state.addresses)

    async def await_replica(self, endpoint: Endpoint) -> None:
        """Wait for a pod, and be counted meanwhile. Raises ApiError 404, 429 or 503."""
        began = time.monotonic()
        deadline = began + self._config.hold_seconds
        while not self.has_replica(endpoint):
            if endpoint not in self._fleet.endpoints:
                raise deleted(endpoint)
            async with self._waiting.place(endpoint) as arrival:
                left = deadline - time.monotonic()
                try:
                    await asyncio.wait_for(arrival.wait(), left)
                except TimeoutError:
                    raise gave_up(endpoint, self._config.hold_seconds) from None
        self._books.woke(endpoint, time.monotonic() - began)

    async def send(self, target: Target, asked: Asked) -> Answer:
        """The answer of the first replica that gives one. Raises ApiError when none does.

        Nothing has been passed on yet when another replica is asked: the caller sees one answer.
        """
        body = json.dumps({**asked.body, "model": target.model}).encode()
        headers = {name: value for name, value in asked.headers.items() if name not in _OWN_HEADERS}
        attempt = _Attempt(time.monotonic() + OUTAGE_SECONDS)
        while len(attempt.tried) < MOST_ATTEMPTS and time.monotonic() < attempt.deadline:
            address = self._next_address(target.endpoint, asked.prefix, attempt)
            if address is None:
                if attempt.refusal is not None:
                    return attempt.refusal
                await self._pause(target.endpoint, attempt)
                continue
            attempt.count += 1
            if attempt.count > 1:
                self._books.retried(target.endpoint)
            url, timeout = f"http://{address}{asked.path}", self._timeout(target.endpoint, attempt)
            answer = await self._try(address, target.endpoint, _Sent(url, headers, body, timeout))
            if answer is None:
                continue
            if answer.status not in (*ELSEWHERE, 429):
                return answer
            attempt.refusal = answer
        if attempt.refusal is not None:
            return attempt.refusal
        message = f"No pod of {target.endpoint} answers. Retry later."
        raise ApiError(503, message, "server_error", "no_replica", retry_after_seconds=2)

    async def _pause(self, endpoint: Endpoint, attempt: _Attempt) -> None:
        """No pod is left to ask: wait for the first one, or for those that failed to be replaced."""
        if not self.has_replica(endpoint):
            await self.await_replica(endpoint)
            attempt.deadline = time.monotonic() + OUTAGE_SECONDS
        else:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        attempt.tried.clear()

    def _next_address(self, endpoint: Endpoint, prefix: str, attempt: _Attempt) -> str | None:
        state = self._fleet.endpoints.get(endpoint)
        addresses = set() if state is None else set(state.addresses)
        fresh = addresses - attempt.tried
        address = self.balance.choose(fresh, prefix, time.monotonic())
        if address is not None:
            attempt.tried.add(address)
        return address

    def _timeout(self, endpoint: Endpoint, attempt: _Attempt) -> httpx2.Timeout:
        state = self._fleet.endpoints.get(endpoint)
        has_other = state is not None and not state.addresses <= attempt.tried
        connect = CONNECT_SECONDS if has_other else LAST_CONNECT_SECONDS
        return httpx2.Timeout(self._config.request_timeout_seconds, connect=connect)

    async def _try(self, address: str, endpoint: Endpoint, sent: _Sent) -> Answer | None:
        """None where the replica gave no whole answer, or no first byte of a good one."""
        chunks = self._exchange(address, endpoint, sent)
        try:
            head = await anext(chunks)
            assert isinstance(head, httpx2.Response)
            if head.status_code in (*ELSEWHERE, 429):
                content = b"".join([chunk async for chunk in chunks])
                self.balance.answered(address)
                return Answer(head.status_code, _kept(head.headers), _once(content))
        except (httpx2.TransportError, StopAsyncIteration):
            await chunks.aclose()
            self.balance.failed(address, time.monotonic())
            return None
        self.balance.answered(address)
        return Answer(head.status_code, _kept(head.headers), _bytes(chunks))

    async def _exchange(self, address: str, endpoint: Endpoint, sent: _Sent) -> AsyncGenerator[Any, None]:
        """The response once its first bytes are there, then its bytes. Counts it as open until then."""
        self.balance.began(address)
        self._books.running[endpoint] += 1
        try:
            async with (
                self._client.stream(
                    "POST", sent.url, content=sent.content, headers=sent.headers, timeout=sent.timeout
                ) as response,
                aclosing(response.aiter_raw()) as raw,
            ):
                first = await anext(raw, b"")
                yield response
                yield first
                async for chunk in raw:
                    yield chunk
        finally:
            self.balance.ended(address)
            self._books.running[endpoint] -= 1


async def _bytes(chunks: AsyncGenerator[Any, None]) -> AsyncIterator[bytes]:
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _kept(headers: httpx2.Headers) -> dict[str, str]:
    dropped = {"connection", "transfer-encoding", "keep-alive", "x-request-id", "date"}
    return {name: value for name, value in headers.items() if name.lower() not in dropped}


def prefix_of(body: dict[str, Any]) -> str:
    """The beginning of the prompt: requests that share it should meet in one cache."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return json.dumps(messages)[:PREFIX_CHARACTERS]
    prompt = body.get("prompt")
    return prompt[:PREFIX_CHARACTERS] if isinstance(prompt, str) else ""
