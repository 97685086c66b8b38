"""The front door before real gateways with a scripted engine."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import AccessConfig
from gemma_serving.frontdoor.__main__ import make_door, take_up
from gemma_serving.frontdoor.app import FrontDoor, make_admin_app, make_app
from gemma_serving.frontdoor.balance import Balance
from gemma_serving.frontdoor.config import FrontDoorConfig
from gemma_serving.frontdoor.fleet import Endpoint, EndpointState
from gemma_serving.frontdoor.forwarding import prefix_of
from gemma_serving.gateway.access.keys import hash_key
from gemma_serving.gateway.routes.body import MAX_BODY_BYTES
from serving import Running, config, events_of, running

A, B = Endpoint("team-a", "alpha"), Endpoint("team-b", "beta")
CHAT = {"model": "alpha", "messages": [{"role": "user", "content": "Hi"}]}
KEY = "a-key-of-sixteen-characters"


def address(pod: Running) -> str:
    return pod.url.removeprefix("http://")


def unused_address() -> str:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{made.getsockname()[1]}"


def asking(door: FrontDoor) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(make_app(door), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://door", timeout=30)


def telling(door: FrontDoor) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_admin_app(door)), base_url="http://admin")


def knows(door: FrontDoor, **addresses: list[str]) -> None:
    """alpha of team-a and beta of team-b, with these replicas."""
    take_up(
        door,
        {
            A: EndpointState(frozenset(addresses.get("alpha", [])), may_be_zero=True),
            B: EndpointState(frozenset(addresses.get("beta", []))),
        },
    )


class Pods:
    """Gateways by the name of their endpoint."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.upstreams: dict[str, ScriptedUpstream] = {}

    def start(self, name: str, script: Script | None = None, **changes: Any) -> str:
        upstream = ScriptedUpstream(lambda _: script or Script())
        pod = self._stack.enter_context(running(upstream, config(model=name, **changes)))
        deadline = time.monotonic() + 10
        while not pod.gateway.engine.health.started and time.monotonic() < deadline:
            time.sleep(0.01)
        self.upstreams[address(pod)] = upstream
        return address(pod)


@pytest.fixture
def pods() -> Any:
    with ExitStack() as stack:
        yield Pods(stack)


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    made = make_door(FrontDoorConfig(hold_seconds=5, max_held_requests=2))
    yield made
    await made.close()


async def test_the_model_decides_where_a_request_goes(door: FrontDoor, pods: Pods) -> None:
    knows(
        door,
        alpha=[pods.start("alpha", Script(["from alpha"]))],
        beta=[pods.start("beta", Script(["from beta"]))],
    )
    async with asking(door) as client:
        for model, text in (("alpha", "from alpha"), ("beta", "from beta"), ("team-b/beta", "from beta")):
            answer = await client.post("/v1/chat/completions", json={**CHAT, "model": model})
            assert answer.json()["choices"][0]["message"]["content"] == text
        unknown = await client.post("/v1/chat/completions", json={**CHAT, "model": "gamma"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_stream_arrives_whole(door: FrontDoor, pods: Pods) -> None:
    knows(door, alpha=[pods.start("alpha", Script([f"t{i} " for i in range(20)]))])
    async with asking(door) as client:
        answer = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    text = "".join(
        e["choices"][0]["delta"].get("content") or "" for e in events_of(answer.text) if e["choices"]
    )
    assert text.split() == [f"t{i}" for i in range(20)]
    assert answer.text.rstrip().endswith("data: [DONE]")


async def test_a_dead_replica_costs_nothing_and_is_then_left_alone(door: FrontDoor, pods: Pods) -> None:
    alive, prefix, began = pods.start("alpha"), prefix_of(CHAT), time.monotonic()
    chosen = Balance().choose
    dead = next(each for each in iter(unused_address, None) if chosen([each, alive], prefix, began) == each)
    knows(door, alpha=[dead, alive])
    async with asking(door) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200
    assert (
        b'gemma_front_door_retries_total{endpoint_namespace="team-a",model="alpha"} 1.0' in door.books.page()
    )
    assert door.forwarder.balance.choose([dead, alive], prefix, began) == alive


async def test_a_full_replica_passes_the_request_on(door: FrontDoor, pods: Pods) -> None:
    slow = Script(["x"], first_delay_seconds=1.0)
    full = pods.start("alpha", slow, max_concurrent_requests=1, max_queued_requests=0)
    knows(door, alpha=[full])
    async with asking(door) as client:
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        while not pods.upstreams[full].requests:
            await asyncio.sleep(0.01)
        knows(door, alpha=[full, pods.start("alpha", Script(["elsewhere"]))])
        second = await client.post("/v1/chat/completions", json=CHAT)
        assert second.json()["choices"][0]["message"]["content"] == "elsewhere"
        assert (await first).status_code == 200


async def test_a_request_for_zero_pods_waits_is_counted_and_is_answered(door: FrontDoor, pods: Pods) -> None:
    knows(door)
    async with asking(door) as client, telling(door) as admin:
        held = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        while not door.waiting.count(A):
            await asyncio.sleep(0.01)
        assert (await admin.get("/scaling/team-a/alpha")).json() == {"waiting": 1, "running": 0}
        metric = 'gemma_front_door_requests_waiting{endpoint_namespace="team-a",model="alpha"} 1.0'
        assert metric in (await admin.get("/metrics")).text
        knows(door, alpha=[pods.start("alpha", Script(["woken"]))])
        assert (await held).json()["choices"][0]["message"]["content"] == "woken"
        assert (await admin.get("/scaling/team-a/alpha")).json() == {"waiting": 0, "running": 0}


async def test_a_stream_that_waits_is_kept_alive_by_comments(door: FrontDoor, pods: Pods) -> None:
    knows(door)
    async with asking(door) as client:
        held = asyncio.create_task(client.post("/v1/chat/completions", json={**CHAT, "stream": True}))
        while not door.waiting.count(A):
            await asyncio.sleep(0.01)
        knows(door, alpha=[pods.start("alpha")])
        answer = await held
    assert answer.text.startswith(": waiting for a replica\n\n")
    assert answer.text.rstrip().endswith("data: [DONE]")


async def test_who_waits_is_bounded_in_number_and_in_time() -> None:
    door = make_door(FrontDoorConfig(hold_seconds=0.3, max_held_requests=2))
    knows(door)
    async with asking(door) as client:
        answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=CHAT) for _ in range(3)))
    await door.close()
    assert sorted(answer.status_code for answer in answers) == [429, 503, 503]
    assert all("retry-after" in answer.headers for answer in answers)
    assert door.waiting.count(A) == 0


async def test_models_are_those_that_the_key_may_use(door: FrontDoor, pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "team").write_text(hash_key(KEY))
    locked = pods.start("alpha", access=AccessConfig(keys_path=str(tmp_path)))
    knows(door, alpha=[locked], beta=[pods.start("beta")])
    async with asking(door) as client:
        with_key = await client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
        without = await client.get("/v1/models")
        refused = await client.post("/v1/chat/completions", json=CHAT)
    assert [card["id"] for card in with_key.json()["data"]] == ["alpha", "beta"]
    assert [card["id"] for card in without.json()["data"]] == ["beta"]
    assert refused.status_code == 401


async def test_canary_weights_hold_over_a_thousand_requests(pods: Pods) -> None:
    route = {
        "model": "chat",
        "backends": [{"endpoint": "team-a/alpha", "weight": 90}, {"endpoint": "team-b/beta", "weight": 10}],
    }
    door = make_door(FrontDoorConfig.from_dict({"routes": [route]}))
    knows(door)
    counted = Counter(str(door.fleet.resolve("chat").endpoint) for _ in range(1000))
    await door.close()
    assert counted == {"team-a/alpha": 900, "team-b/beta": 100}


async def test_a_mirror_gets_a_copy_and_the_caller_one_answer(pods: Pods) -> None:
    route = {
        "model": "chat",
        "backends": [{"endpoint": "team-a/alpha"}],
        "mirror": {"endpoint": "team-b/beta", "percent": 100.0},
    }
    door = make_door(FrontDoorConfig.from_dict({"routes": [route]}))
    alpha, beta = pods.start("alpha", Script(["real"])), pods.start("beta", Script(["copy"]))
    knows(door, alpha=[alpha], beta=[beta])
    async with asking(door) as client:
        answer = await client.post("/v1/chat/completions", json={**CHAT, "model": "chat"})
    assert answer.json()["choices"][0]["message"]["content"] == "real"
    while not pods.upstreams[beta].requests:
        await asyncio.sleep(0.01)
    await door.close()


async def test_a_request_that_waits_for_an_endpoint_that_is_deleted_is_told_so(door: FrontDoor) -> None:
    knows(door)
    async with asking(door) as client:
        held = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        while not door.waiting.count(A):
            await asyncio.sleep(0.01)
        take_up(door, {})
        answer = await held
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_door_that_leaves_sends_its_callers_elsewhere_and_waits_for_those_it_holds(
    door: FrontDoor, pods: Pods
) -> None:
    knows(door, beta=[pods.start("beta")])
    async with asking(door) as client:
        held = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        while not door.waiting.count(A):
            await asyncio.sleep(0.01)
        before = await client.post("/v1/chat/completions", json={**CHAT, "model": "beta"})
        door.is_leaving = True
        after = await client.post("/v1/chat/completions", json={**CHAT, "model": "beta"})
        assert door.open_requests == 1
        knows(door, alpha=[pods.start("alpha")])
        assert (await held).status_code == 200
    assert "connection" not in before.headers
    assert (after.status_code, after.headers["connection"]) == (200, "close")
    assert door.open_requests == 0


async def test_a_body_that_no_pod_would_take_is_refused_unread(door: FrontDoor) -> None:
    """It needs no key to send one, and the front door has the memory for many small ones."""
    knows(door)
    async with asking(door) as client:
        announced = {"content-length": str(MAX_BODY_BYTES + 1)}
        answer = await client.post("/v1/chat/completions", content=b"{}", headers=announced)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_nobody_is_counted_after_callers_have_gone(door: FrontDoor, pods: Pods) -> None:
    knows(door, alpha=[pods.start("alpha", Script(["x"], first_delay_seconds=5.0))])
    async with asking(door) as client:
        asked = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        while not door.books.running[A]:
            await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        while door.books.running[A]:
            await asyncio.sleep(0.01)
    assert door.books.running[A] == 0
