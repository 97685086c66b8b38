"""One holder at a time, on a clock of the test's own."""

import asyncio
from collections.abc import Callable, Coroutine
from copy import deepcopy
from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.apiserver import Request
from gemma_operator.kube.errors import ConflictError, NotFoundError, UnavailableError
from gemma_operator.kube.lease import (
    LEASE_SECONDS,
    RENEW_DEADLINE_SECONDS,
    RETRY_SECONDS,
    Lease,
    LeaseLostError,
    LeaseName,
    LeaseNameError,
)
from support.virtual_time import VirtualTimeLoop

NAME = LeaseName("gemma-system", "gemma-operator")
TAKEOVER_SECONDS = 15.0


class LeaseServer:
    """Keeps one Lease, with resource versions. `down` names who cannot reach it."""

    def __init__(self) -> None:
        self.lease: Manifest | None = None
        self.down: set[str] = set()
        self._version = 0

    def client(self, name: str) -> Any:
        """What one candidate sends its requests through."""
        server = self

        class Client:
            async def send(self, request: Request) -> Manifest:
                await asyncio.sleep(0.01)
                if name in server.down:
                    raise UnavailableError(f"{name} is cut off")
                return server._answer(request)

        return Client()

    def _answer(self, request: Request) -> Manifest:
        if request.method == "GET":
            if self.lease is None:
                raise NotFoundError("no lease")
            return deepcopy(self.lease)
        sent = deepcopy(request.body)
        known = None if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if sent["metadata"].get("resourceVersion") != known:
            raise ConflictError("changed meanwhile")
        self._version += 1
        sent["metadata"]["resourceVersion"] = str(self._version)
        self.lease = sent
        return deepcopy(sent)


class Candidates:
    """Processes `a`, `b` … that want the same Lease, and who held it when."""

    def __init__(self) -> None:
        self.server = LeaseServer()
        self.leases: dict[str, Lease] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.held_since: dict[str, float] = {}

    def start(self, name: str) -> None:
        lease = Lease(self.server.client(name), NAME, name, lambda: "2026-11-25T00:00:00Z")

        async def live() -> None:
            await lease.acquire()
            self.held_since[name] = asyncio.get_running_loop().time()
            await lease.keep()

        self.leases[name] = lease
        self.tasks[name] = asyncio.create_task(live())

    def holders(self) -> list[str]:
        return [name for name, lease in self.leases.items() if lease.is_held()]

    async def watch(self, seconds: float) -> None:
        """Let time pass; at no moment may two hold it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            assert len(self.holders()) <= 1
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def run(body: Callable[[Candidates], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        candidates = Candidates()
        await body(candidates)
        await candidates.stop()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(whole())


def test_the_first_one_holds_it_and_the_others_wait() -> None:
    async def body(candidates: Candidates) -> None:
        candidates.start("a")
        candidates.start("b")
        await candidates.watch(120.0)
        assert len(candidates.holders()) == 1

    run(body)


def test_a_dead_holder_is_followed_within_the_objective() -> None:
    async def body(candidates: Candidates) -> None:
        candidates.start("a")
        await candidates.watch(5.0)
        candidates.start("b")
        await candidates.watch(20.0)
        died = asyncio.get_running_loop().time()
        candidates.tasks["a"].cancel()
        candidates.server.down.add("a")
        await candidates.watch(60.0)
        assert candidates.holders() == ["b"]
        assert candidates.held_since["b"] - died <= TAKEOVER_SECONDS

    run(body)


def test_a_released_lease_is_taken_at_the_next_look() -> None:
    async def body(candidates: Candidates) -> None:
        candidates.start("a")
        await candidates.watch(5.0)
        candidates.start("b")
        await candidates.watch(5.0)
        candidates.tasks["a"].cancel()
        released = asyncio.get_running_loop().time()
        await candidates.leases["a"].release()
        await candidates.watch(5.0)
        assert candidates.held_since["b"] - released <= RETRY_SECONDS + 0.1

    run(body)


def test_a_holder_that_is_cut_off_stops_before_another_starts() -> None:
    async def body(candidates: Candidates) -> None:
        candidates.start("a")
        await candidates.watch(5.0)
        candidates.start("b")
        await candidates.watch(5.0)
        candidates.server.down.add("a")
        await candidates.watch(60.0)
        assert candidates.holders() == ["b"]
        with pytest.raises(LeaseLostError):
            await candidates.tasks["a"]

    run(body)


def test_an_outage_that_ends_in_time_costs_nothing() -> None:
    async def body(candidates: Candidates) -> None:
        candidates.start("a")
        await candidates.watch(5.0)
        candidates.server.down.add("a")
        await candidates.watch(RENEW_DEADLINE_SECONDS / 2)
        candidates.server.down.clear()
        await candidates.watch(30.0)
        assert candidates.holders() == ["a"]

    run(body)


def test_a_process_that_was_stopped_knows_it_at_once() -> None:
    """SIGSTOP, or a host that was suspended: its clock has moved on when it wakes."""

    async def body(candidates: Candidates) -> None:
        candidates.start("a")
        await candidates.watch(5.0)
        lease = candidates.leases["a"]
        candidates.tasks["a"].cancel()
        await asyncio.sleep(LEASE_SECONDS)
        assert not lease.is_held()

    run(body)


def test_a_thousand_hand_overs_never_have_two_holders() -> None:
    async def body(candidates: Candidates) -> None:
        candidates.start("0")
        for number in range(1, 1001):
            candidates.start(str(number))
            await candidates.watch(1.0)
            last = str(number - 1)
            if number % 2:
                candidates.server.down.add(last)
            candidates.tasks[last].cancel()
            await candidates.watch(TAKEOVER_SECONDS)
            assert candidates.holders() == [str(number)]
            del candidates.leases[last]

    run(body)


@pytest.mark.parametrize("text", ["", "a", "a/", "/b", "a/b/c"])
def test_a_name_without_its_namespace_is_refused(text: str) -> None:
    with pytest.raises(LeaseNameError, match="NAMESPACE/NAME"):
        LeaseName.parse(text)
