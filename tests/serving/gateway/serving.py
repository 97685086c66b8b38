"""A gateway on real ports, in a thread of its own, for clients that know nothing of asyncio."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

from gemma_serving.contract import RuntimeConfig
from gemma_serving.gateway.adapters import AdapterKeeper
from gemma_serving.gateway.admin import make_admin_app
from gemma_serving.gateway.app import make_app
from gemma_serving.gateway.gateway import Gateway, make_gateway
from gemma_serving.gateway.health import Monitor
from gemma_serving.gateway.server import Listener, listener
from gemma_serving.gateway.upstream import Upstream

CONFIG = RuntimeConfig(
    model="assistant",
    variant="gemma-3-4b-it",
    family="gemma3",
    engine="llamacpp",
    engine_version="b7000",
    precision="Q4_K_M",
    weights_path="/weights/model.gguf",
    context_length=4096,
    max_concurrent_requests=4,
    max_queued_requests=16,
    request_timeout_seconds=30,
    drain_seconds=30,
)


def config(**changes: Any) -> RuntimeConfig:
    """The tests' configuration with some fields changed."""
    return dataclasses.replace(CONFIG, **changes)


@dataclass(frozen=True)
class Running:
    """A gateway that listens."""

    gateway: Gateway
    url: str
    admin_url: str
    loop: asyncio.AbstractEventLoop


def _socket() -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    made.listen(2048)
    return made


@contextmanager
def running(given: Upstream | Callable[[], Upstream], settings: RuntimeConfig = CONFIG) -> Iterator[Running]:
    """Serve until the block ends; a client of gRPC must be made inside the loop, so a maker is taken too."""
    public, admin = _socket(), _socket()
    ready = threading.Event()
    made: list[Running] = []
    listeners: list[Listener] = []

    async def run() -> None:
        upstream = given() if callable(given) else given
        gateway = make_gateway(settings, upstream)
        urls = [f"http://127.0.0.1:{each.getsockname()[1]}" for each in (public, admin)]
        made.append(Running(gateway, *urls, asyncio.get_running_loop()))
        listeners.append(listener(make_app(gateway), "127.0.0.1", 0))
        listeners.append(listener(make_admin_app(gateway, "http://127.0.0.1:1/metrics"), "127.0.0.1", 0))
        health = Monitor(upstream, gateway.engine.health, lambda: not gateway.engine.admission.running)
        keeper = AdapterKeeper(upstream, gateway.adapters, gateway.engine.health)
        works = (health.run(), gateway.safety.watch(), keeper.run())
        watching = [asyncio.create_task(work) for work in works]
        if gateway.quality is not None:
            watching.append(asyncio.create_task(gateway.quality.run()))
        serving = asyncio.gather(listeners[0].serve([public]), listeners[1].serve([admin]))
        ready.set()
        await serving
        for task in watching:
            task.cancel()
        await gateway.media.close()
        await upstream.close()
        await gateway.engine.tracing.close()

    thread = threading.Thread(target=lambda: uvloop.run(run()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield made[0]
    finally:
        for each in listeners:
            each.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def events_of(text: str) -> list[Any]:
    """Payloads of a stream, without the closing marker."""
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]
