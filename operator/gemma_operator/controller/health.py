"""The HTTP ports: probes that say whether the operator hears the cluster, and metrics.

They are answered by the same event loop that does the work, so that a blocked loop fails the probe.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from gemma_operator.kube.apiserver import SILENCE_TIMEOUT_SECONDS
from gemma_operator.kube.informer import LONGEST_DELAY_SECONDS, Informer

LOOPBACK = "127.0.0.1"
STUCK_SECONDS = 3 * (SILENCE_TIMEOUT_SECONDS + LONGEST_DELAY_SECONDS)
"""A watch that has neither heard nor tried anything for so long is stuck: restarting helps. During an
outage of the API server attempts go on, and restarting would not."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen; 0 takes any free port of the loopback interface."""

    health: int
    metrics: int


class Health:
    """What the probes answer."""

    def __init__(self, watches: Sequence[Informer]) -> None:
        self._watches = watches

    def stuck(self, now: float) -> list[str]:
        """Watches that make no attempt; empty when the operator is alive."""
        return [
            f"the watch of {watch.kind.plural} did nothing for {now - watch.freshness.tried_at:.0f} s"
            for watch in self._watches
            if watch.freshness.tried_at and now - watch.freshness.tried_at > STUCK_SECONDS
        ]

    def unready(self) -> list[str]:
        """What is not followed at the moment, and why; empty when the operator sees everything."""
        return [
            f"{watch.kind.plural}: {watch.freshness.failure or 'the first list is not complete'}"
            for watch in self._watches
            if not watch.freshness.synced or watch.freshness.failure is not None
        ]

    def ages(self) -> dict[str, float]:
        """Seconds since anything was heard, for the quietest watch of each resource."""
        now = asyncio.get_running_loop().time()
        ages: dict[str, float] = {}
        for watch in self._watches:
            age = now - watch.freshness.heard_at
            ages[watch.kind.plural] = max(age, ages.get(watch.kind.plural, 0.0))
        return ages


@asynccontextmanager
async def served(health: Health, page: Callable[[], bytes], ports: Ports) -> AsyncIterator[Ports]:
    """Serve probes, and the page of metrics; yields the ports in use."""

    async def alive(_: web.Request) -> web.Response:
        return _answer(health.stuck(asyncio.get_running_loop().time()))

    async def ready(_: web.Request) -> web.Response:
        return _answer(health.unready())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async with AsyncExitStack() as stack:
        yield Ports(
            health=await _listen(
                stack, ports.health, [web.get("/healthz", alive), web.get("/readyz", ready)]
            ),
            metrics=await _listen(stack, ports.metrics, [web.get("/metrics", metrics)]),
        )


async def _listen(stack: AsyncExitStack, port: int, routes: Sequence[web.RouteDef]) -> int:
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    # All addresses of both families; they could not agree on a free port.
    site = web.TCPSite(runner, port=port, host=None if port else LOOPBACK)
    await site.start()
    return int(runner.addresses[0][1])


def _answer(problems: Sequence[str]) -> web.Response:
    text = "\n".join(problems) or "ok"
    return web.Response(text=text + "\n", status=503 if problems else 200)
