"""Two front door processes before real gateway processes: shares, dead pods, and 64 streams under fire."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
import pytest
from fleet_processes import NAMESPACE, FleetProcesses, Process, until
from kubernetes_api import KubernetesApi, kubernetes_api

STREAMS, TOKENS, TOKEN_SECONDS = 64, 10, 0.2
REQUESTS = 1000
SHARES = {"alpha": 90, "gamma": 10}
SHARE_POINTS = 2.0
SKIPPED_SECONDS = 2.0
UNANSWERED = 20
ANSWER_SECONDS = 60
CANARY = {
    "model": "canary",
    "backends": [
        {"endpoint": f"{NAMESPACE}/{name}", "weight": weight} for name, weight in sorted(SHARES.items())
    ],
}
FIRST_PODS = {"alpha": ("alpha-1", "alpha-2"), "beta": ("beta-1", "beta-2"), "gamma": ("gamma-1",)}


@dataclass
class Fleet:
    """Three endpoints behind two front doors."""

    processes: FleetProcesses
    api: KubernetesApi
    pods: dict[str, Process] = field(default_factory=dict)
    doors: list[Process] = field(default_factory=list)

    def begin(self, name: str) -> Process:
        """A pod of the endpoint that its name begins with."""
        self.pods[name] = self.processes.begin_gateway(name.partition("-")[0], name, TOKENS, TOKEN_SECONDS)
        return self.pods[name]

    def replicas(self, endpoint: str) -> set[float]:
        """As many as each door sees."""
        labels = {"endpoint_namespace": NAMESPACE, "model": endpoint}
        return {door.metric("gemma_front_door_replicas", **labels) for door in self.doors}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        api = stack.enter_context(kubernetes_api(tmp_path_factory.mktemp("account")))
        made = Fleet(FleetProcesses(stack, api, tmp_path_factory.mktemp("fleet")), api)
        for endpoint in FIRST_PODS:
            api.put_deployment(NAMESPACE, endpoint)
        first = [(endpoint, made.begin(name)) for endpoint, names in FIRST_PODS.items() for name in names]
        made.doors = [made.processes.begin_door(name, [CANARY]) for name in ("door-1", "door-2")]
        for endpoint, pod in first:
            made.processes.put_ready(endpoint, pod)
        for door in made.doors:
            until(door.is_ready, f"{door.name} to know the fleet")
        until(lambda: made.replicas("gamma") == {1.0}, "both doors to see every pod")
        yield made


async def test_shares_over_two_doors_are_within_two_points(fleet: Fleet) -> None:
    doors = itertools.cycle(fleet.doors)
    body = {"model": "canary", "prompt": "Hi", "max_tokens": 1}

    async def ask(client: httpx.AsyncClient, places: asyncio.Semaphore) -> str:
        async with places:
            answer = await client.post(f"{next(doors).url}/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["text"]).partition("-")[0]

    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
        places = asyncio.Semaphore(STREAMS)
        counted = Counter(await asyncio.gather(*(ask(client, places) for _ in range(REQUESTS))))
    for endpoint, percent in SHARES.items():
        assert abs(counted[endpoint] / REQUESTS * 100 - percent) <= SHARE_POINTS, counted


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a pod whose node is gone: a connection is neither made nor refused. Its backlog is full."""
    with ExitStack() as stack:
        made = stack.enter_context(socket.socket())
        made.bind(("127.0.0.1", 0))
        made.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(made.getsockname())
        yield made.getsockname()[1]


async def test_a_pod_that_answers_nothing_is_skipped_within_two_seconds(
    fleet: Fleet, silent_port: int
) -> None:
    fleet.api.put_slice(NAMESPACE, "gamma", {silent_port: True})
    until(lambda: fleet.replicas("gamma") == {2.0}, "both doors to see the dead pod")
    async with httpx.AsyncClient(timeout=SKIPPED_SECONDS, trust_env=False) as client:
        for door in fleet.doors:
            answers = await asyncio.gather(
                *(
                    client.post(
                        f"{door.url}/v1/completions",
                        json={"model": "gamma", "prompt": f"{n}", "max_tokens": 1},
                    )
                    for n in range(UNANSWERED)
                )
            )
            assert {answer.status_code for answer in answers} == {200}
            assert door.metric("gemma_front_door_retries_total", endpoint_namespace=NAMESPACE, model="gamma")
    fleet.api.put_slice(NAMESPACE, "gamma", {silent_port: False})
    until(lambda: fleet.replicas("gamma") == {1.0}, "both doors to see it taken out")


@dataclass
class Stream:
    """What one caller got."""

    model: str
    text: str = ""
    error: str = ""

    @property
    def pod(self) -> str:
        """Whose tokens they are; empty before the first."""
        return self.text.partition("/")[0]

    @property
    def is_whole(self) -> bool:
        return self.text == "".join(f"{self.pod}/{n} " for n in range(TOKENS))


class Load:
    """Callers that ask anew as soon as they are answered; each keeps its connection while it may."""

    def __init__(self, doors: list[Process]) -> None:
        self.doors = doors
        """Those that new connections are made to."""
        self.is_over = False
        self.streams: list[Stream] = []
        self.open: set[int] = set()

    async def call(self, number: int) -> None:
        door, model = self.doors[number % len(self.doors)], list(FIRST_PODS)[number % len(FIRST_PODS)]
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            for turn in itertools.count():
                if self.is_over:
                    return
                stream = Stream(model)
                self.streams.append(stream)
                if await self._ask(client, door, stream, f"{number} {turn}"):
                    door = self.doors[number % len(self.doors)]

    async def _ask(self, client: httpx.AsyncClient, door: Process, stream: Stream, prompt: str) -> bool:
        """Whether the connection was closed."""
        body = {"model": stream.model, "prompt": prompt, "max_tokens": TOKENS, "stream": True}
        try:
            async with client.stream("POST", f"{door.url}/v1/completions", json=body) as answer:
                if answer.status_code != 200:
                    stream.error = f"{answer.status_code} {(await answer.aread()).decode()}"
                async for line in answer.aiter_lines():
                    self._read(stream, line)
                return answer.headers.get("connection") == "close"
        except httpx.HTTPError as error:
            stream.error = repr(error)
            return True

    def _read(self, stream: Stream, line: str) -> None:
        if not line.startswith("data: {"):
            return
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            stream.error = event["error"]["code"]
        else:
            stream.text += "".join(choice["text"] for choice in event["choices"])

    async def answered(self, model: str, more: int) -> None:
        """Until so many more streams of the model have come whole."""
        wanted = self._whole(model) + more
        while self._whole(model) < wanted:
            await asyncio.sleep(0.05)

    def _whole(self, model: str) -> int:
        return sum(stream.is_whole for stream in self.streams if stream.model == model)


async def under_fire(fleet: Fleet, load: Load) -> None:
    """Roll two endpoints' pods and a door, kill a pod, scale up and down."""
    processes, pods = fleet.processes, fleet.pods
    leaving, staying = fleet.doors
    new_door = processes.begin_door("door-3", [CANARY])
    await asyncio.to_thread(until, new_door.is_ready, "the new door")
    load.doors = [new_door, staying]
    leaving.popen.send_signal(signal.SIGTERM)

    coming = [fleet.begin(name) for name in ("alpha-3", "alpha-4", "gamma-2")]
    pods["beta-1"].popen.kill()
    # Its node's kubelet tells of it late: requests go on meeting its address.
    await load.answered("beta", STREAMS // 3)
    processes.take_out("beta", pods["beta-1"])

    for new, old in zip(coming[:2], ("alpha-1", "alpha-2"), strict=True):
        await asyncio.to_thread(processes.put_ready, "alpha", new)
        processes.terminate("alpha", pods[old])
    await asyncio.to_thread(processes.put_ready, "gamma", coming[2])
    await load.answered("gamma", STREAMS // 3)
    processes.terminate("gamma", pods["gamma-1"])
    for gone in (pods["alpha-1"], pods["alpha-2"], pods["gamma-1"], leaving):
        assert await asyncio.to_thread(gone.popen.wait, ANSWER_SECONDS) == 0, gone.name


async def test_64_streams_fail_only_where_their_own_pod_was_killed(fleet: Fleet) -> None:
    load = Load(list(fleet.doors))
    callers = [asyncio.create_task(load.call(number)) for number in range(STREAMS)]
    for model in FIRST_PODS:
        await load.answered(model, 1)
    await under_fire(fleet, load)
    load.is_over = True
    await asyncio.gather(*callers)
    lost = [stream for stream in load.streams if stream.error == "replica_lost"]
    assert [stream for stream in load.streams if not stream.is_whole and stream not in lost] == []
    assert {stream.pod for stream in lost} <= {"beta-1", ""}, lost
    assert {stream.model for stream in lost} == {"beta"}
    assert len(lost) <= STREAMS // 3 + 1, "no more than had a stream open there"
    pods = {stream.pod for stream in load.streams}
    assert {"alpha-1", "alpha-3", "alpha-4", "beta-2", "gamma-1", "gamma-2"} <= pods
