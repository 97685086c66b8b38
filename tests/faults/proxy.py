"""A proxy between the operator and the API server that fails requests as it is told.

Writes are counted for each GemmaDeployment, found by its name in path or body, so that "the third write of
plan-007" means the same in every run. Watches are shared, and are disturbed by the number of their events.
"""

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import aiohttp
from aiohttp import web

PLAN_NAME = re.compile(rb"plan-\d{3}")
RETRY_AFTER_SECONDS = 1
WATCH_SECONDS = re.compile(r"timeoutSeconds=\d+")
_HOP_HEADERS = {
    "connection",
    "transfer-encoding",
    "content-encoding",
    "content-length",
    "host",
    "keep-alive",
    "accept-encoding",
}


class WriteFault(StrEnum):
    """What happens to a write."""

    CONFLICT = "409, not carried out"
    THROTTLED = "429 with Retry-After, not carried out"
    BROKEN = "500, not carried out"
    BROKEN_AFTER = "500, carried out"
    CUT_BEFORE = "connection cut, not carried out"
    CUT_AFTER = "connection cut, carried out"
    KILL_BEFORE = "operator killed, not carried out"
    KILL_AFTER = "operator killed, carried out"


class WatchFault(StrEnum):
    """What happens to a watch, all of which come back."""

    CUT = "connection cut"
    GONE = "410 Gone"
    GONE_AFTER_DROPPED = "events dropped, then 410 Gone"
    STALE = "an earlier event told again"
    LATE = "an event told after the one that follows it"
    HALF_OPEN = "no byte any more, connection open"
    """Noticed by silence alone, which takes SILENCE_TIMEOUT_SECONDS."""


_STATUSES = {WriteFault.CONFLICT: 409, WriteFault.THROTTLED: 429, WriteFault.BROKEN: 500}
_BEFORE = frozenset({*_STATUSES, WriteFault.CUT_BEFORE, WriteFault.KILL_BEFORE})


@dataclass
class Faults:
    """What is to fail. Each fault happens once."""

    writes: dict[tuple[str, int], WriteFault] = field(default_factory=dict)
    """By plan and number of its write, from 1."""
    watches: dict[int, WatchFault] = field(default_factory=dict)
    """By number of the event, over all watches, from 1."""


class FaultProxy:
    """Serves plain HTTP on the loopback interface; `kill` is called for faults that end the operator."""

    def __init__(self, server: str, tls: ssl.SSLContext, kill: Callable[[], Awaitable[None]]) -> None:
        self.faults = Faults()
        self.writes: Counter[str] = Counter()
        self.events = 0
        self.happened: Counter[str] = Counter()
        self.is_broken = False
        """Every write fails."""
        self.is_silent = False
        """No watch tells anything any more, and no new one is answered: connections that died unnoticed."""
        self.watch_seconds: int | None = None
        """How long the API server keeps a watch open, instead of the minutes that the operator asks for."""
        self._server = server
        self._tls = tls
        self._kill = kill
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> str:
        """Returns the URL."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0), skip_auto_headers={"Accept-Encoding"}
        )
        application = web.Application(client_max_size=1 << 24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close everything."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = None
        if self.is_broken and request.method != "GET":
            return await self._fail(request, WriteFault.BROKEN)
        if request.method != "GET":
            found = PLAN_NAME.search(request.path.encode()) or PLAN_NAME.search(body)
            if found is not None:
                plan = found[0].decode()
                self.writes[plan] += 1
                fault = self.faults.writes.pop((plan, self.writes[plan]), None)
        if fault in _BEFORE:
            return await self._fail(request, fault)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        answer = await self._forward(request, body)
        return answer if fault is None else await self._fail(request, fault)

    async def _fail(self, request: web.Request, fault: WriteFault) -> web.Response:
        self.happened[fault] += 1
        if fault in (WriteFault.KILL_BEFORE, WriteFault.KILL_AFTER):
            await self._kill()
        status = _STATUSES.get(fault, 500)
        if fault in _STATUSES or fault is WriteFault.BROKEN_AFTER:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 429 else {}
            return web.json_response(
                {"kind": "Status", "message": fault.value}, status=status, headers=headers
            )
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        url = self._server + request.raw_path
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            kept = {n: v for n, v in answer.headers.items() if n.lower() not in _HOP_HEADERS}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        if self.is_silent:
            await asyncio.Event().wait()  # until the operator gives up, or the proxy ends
        headers = {"Authorization": request.headers["Authorization"], "Accept": "application/json"}
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        timeout = aiohttp.ClientTimeout(total=None)
        url = self._server + request.raw_path
        if self.watch_seconds is not None:
            url = WATCH_SECONDS.sub(f"timeoutSeconds={self.watch_seconds}", url)
        async with self._session.get(url, headers=headers, timeout=timeout) as answer:
            response.set_status(answer.status)
            with suppress(ConnectionResetError):  # the operator was killed
                await response.prepare(request)
                await self._follow(request, answer, response)
        return response

    async def _follow(
        self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        is_deaf, earlier, late = False, b"", b""
        async for line in answer.content:
            if self.is_silent:
                continue
            self.events += 1
            fault = self.faults.watches.pop(self.events, None)
            if fault is not None:
                self.happened[fault] += 1
            if fault is WatchFault.HALF_OPEN:
                await asyncio.Event().wait()  # until the operator gives up
            if fault is WatchFault.CUT:
                assert request.transport is not None
                request.transport.abort()
                return
            if fault is WatchFault.GONE or (is_deaf and fault is None):
                await response.write(GONE)
                return
            match fault:
                case WatchFault.GONE_AFTER_DROPPED:
                    is_deaf = True
                case WatchFault.LATE:
                    await response.write(
                        late
                    )  # One at a time: an event that is held for good would be a lie.
                    late = line
                case _:
                    await response.write(line + (earlier if fault is WatchFault.STALE else b"") + late)
                    earlier, late = line, b""
        if self.is_silent:
            await asyncio.Event().wait()


GONE = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
