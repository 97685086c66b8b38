"""What the front door adds to a request: the same pod asked directly and through it, in turns.

    PYTHONPATH=tests/serving/gateway .venv/bin/python -m benchmarks.frontdoor

A gateway with a scripted engine and the front door each have an event loop of their own in this process, on
loopback; one request at a time. So the figure is routing, and no queueing.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time

import httpx
from scripted import Script, ScriptedUpstream

from gemma_serving.frontdoor.__main__ import make_door, take_up
from gemma_serving.frontdoor.app import make_app
from gemma_serving.frontdoor.config import FrontDoorConfig
from gemma_serving.frontdoor.fleet import Endpoint, EndpointState
from gemma_serving.gateway.server import listener
from serving import config, running

ROUNDS, WARM_UP = 400, 50
PORT = 18473
CHAT = {"model": "alpha", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def serve_door(pod: str, ready: threading.Event, over: threading.Event) -> None:
    """The front door, until `over`."""

    async def run() -> None:
        door = make_door(FrontDoorConfig())
        take_up(door, {Endpoint("team-a", "alpha"): EndpointState(frozenset({pod}))})
        server = listener(make_app(door), "127.0.0.1", PORT)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        ready.set()
        await asyncio.to_thread(over.wait)
        server.should_exit = True
        await serving
        await door.close()

    asyncio.run(run())


def seconds(client: httpx.Client, url: str) -> float:
    """One request."""
    began = time.perf_counter()
    client.post(f"{url}/v1/chat/completions", json=CHAT).raise_for_status()
    return time.perf_counter() - began


def main() -> None:
    """Print medians and their difference as JSON."""
    with running(ScriptedUpstream(lambda _: Script(["x"])), config(model="alpha")) as pod:
        while not pod.gateway.engine.health.started:
            time.sleep(0.05)
        ready, over = threading.Event(), threading.Event()
        thread = threading.Thread(target=serve_door, args=(pod.url.removeprefix("http://"), ready, over))
        thread.start()
        ready.wait()
        samples: dict[str, list[float]] = {"direct": [], "through": []}
        with httpx.Client() as client:
            for number in range(WARM_UP + ROUNDS):
                for name, url in (("direct", pod.url), ("through", f"http://127.0.0.1:{PORT}")):
                    took = seconds(client, url)
                    if number >= WARM_UP:
                        samples[name].append(took)
        over.set()
        thread.join()
    medians = {f"{name}_p50_ms": round(statistics.median(each) * 1000, 3) for name, each in samples.items()}
    added = round(medians["through_p50_ms"] - medians["direct_p50_ms"], 3)
    print(json.dumps({**medians, "added_p50_ms": added, "requests": ROUNDS}))


if __name__ == "__main__":
    main()
