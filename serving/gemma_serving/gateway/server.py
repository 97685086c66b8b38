"""Two listeners in one event loop, and the way from SIGTERM to exit."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from gemma_serving.contract import RuntimeConfig
from gemma_serving.gateway.adapters import AdapterKeeper
from gemma_serving.gateway.admin import make_admin_app
from gemma_serving.gateway.app import make_app
from gemma_serving.gateway.drain import write_handshake
from gemma_serving.gateway.following import Follower
from gemma_serving.gateway.gateway import make_gateway
from gemma_serving.gateway.health import Monitor
from gemma_serving.gateway.upstream import Upstream

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Idle connections; longer than the 60 s that load balancers keep theirs, so that they close first."""
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the gateway listens and what it reaches."""

    host: str = "0.0.0.0"
    port: int = 8080
    admin_port: int = 9090
    triton: str = "127.0.0.1:8001"
    triton_metrics_url: str = "http://127.0.0.1:8002/metrics"
    handshake: Path = Path("/run/gemma/drained")
    config: Path = Path("/etc/gemma/runtime.json")
    """Followed while serving."""


class Listener(uvicorn.Server):
    """A uvicorn server that leaves signals to the gateway."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: one process, one way to end."""
        yield


def listener(app: ASGIApp, host: str, port: int) -> Listener:
    """A server for one of the two ports."""
    config = uvicorn.Config(
        app,
        host,
        port,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    return Listener(config)


async def serve(config: RuntimeConfig, upstream: Upstream, addresses: Addresses) -> None:
    """Serve until SIGTERM or SIGINT, drain, and leave the hand-shake file."""
    gateway = make_gateway(config, upstream)
    engine = gateway.engine
    addresses.handshake.unlink(missing_ok=True)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, told.set)
    public = listener(make_app(gateway), addresses.host, addresses.port)
    admin = listener(
        make_admin_app(gateway, addresses.triton_metrics_url), addresses.host, addresses.admin_port
    )
    monitor = Monitor(upstream, engine.health, lambda: not engine.admission.running)
    # Not a TaskGroup: a listener that cannot bind calls sys.exit, which must end the process with its
    # message.
    tasks = [asyncio.create_task(work) for work in (public.serve(), admin.serve(), monitor.run())]
    follower = Follower(gateway, addresses.config)
    watchers = [
        asyncio.create_task(work)
        for work in (gateway.safety.watch(), gateway.access.watch(), follower.watch())
    ]
    tasks.append(asyncio.create_task(AdapterKeeper(upstream, gateway.adapters, engine.health).run()))
    if gateway.quality is not None:
        tasks.append(asyncio.create_task(gateway.quality.run()))
    waiter = asyncio.create_task(told.wait())
    log.info(
        "serving %s on %s:%d, admin on %d", config.model, addresses.host, addresses.port, addresses.admin_port
    )
    try:
        await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
        if told.is_set():
            await engine.drain.run(config.endpoint_removal_seconds, config.drain_seconds)
            # Before Triton is let go: a stream left open, though idle, holds its model, and the server then
            # waits for it until its exit times out (2.51, measured).
            await _stop(tasks[2:])
            await upstream.close()
            write_handshake(addresses.handshake)
    finally:
        public.should_exit = admin.should_exit = True
        for task in (*tasks[2:], *watchers):
            task.cancel()
        results = await asyncio.gather(*tasks, *watchers, return_exceptions=True)
        await gateway.media.close()
        await upstream.close()
        await engine.tracing.close()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel what asks the engine, and return when it has let go."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
