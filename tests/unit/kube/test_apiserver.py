"""Watches on a real connection that dies without a word, as when a load balancer forgets it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from gemma_operator.kube.apiserver import ApiServer, Request
from gemma_operator.kube.errors import UnavailableError

SILENCE_SECONDS = 0.2
EVENT = b'{"type": "BOOKMARK"}\n'
WATCH = Request("GET", "/api/v1/pods", {"watch": "true"})
DEAD = Request("GET", "/dead", {"watch": "true"})


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """Tells one event and then nothing, with the connection open; below /dead it does not even answer."""

    async def half_open(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(EVENT)
        await asyncio.Event().wait()
        return response

    async def dead(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    application = web.Application()
    application.add_routes([web.get(WATCH.path, half_open), web.get(DEAD.path, dead)])
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    client = ApiServer(configuration, lambda request, code: None, SILENCE_SECONDS)
    yield client
    await client.close()
    await runner.cleanup()


async def test_a_half_open_watch_ends_after_its_silence_so_that_it_can_be_opened_anew(api: ApiServer) -> None:
    opened: list[bool] = []
    events = [event async for event in api.watch(WATCH, lambda: opened.append(True))]
    assert events == [{"type": "BOOKMARK"}]
    assert opened == [True]


async def test_a_watch_that_is_not_answered_fails_and_does_not_count_as_opened(api: ApiServer) -> None:
    opened: list[bool] = []
    with pytest.raises(UnavailableError, match="no answer"):
        await anext(aiter(api.watch(DEAD, lambda: opened.append(True))))
    assert opened == []
