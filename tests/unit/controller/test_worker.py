"""Workers: failures are answered one key at a time, on a clock of the test's own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gemma_operator.api.manifest import ObjectKey
from gemma_operator.controller.metrics import Metrics
from gemma_operator.controller.queue import WorkQueue
from gemma_operator.controller.worker import Worker
from gemma_operator.kube.apiserver import Request
from gemma_operator.kube.errors import ForbiddenError, UnavailableError
from support.corridor import KEY, SPEC, Corridor
from support.virtual_time import VirtualTimeLoop

WORKERS = 2


def run(body: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(body)


class Shop:
    """Workers on a corridor, which keep its watches fed."""

    def __init__(self) -> None:
        self.corridor = Corridor()
        self.corridor.user_applies(SPEC)
        self.queue = WorkQueue()
        self.metrics = Metrics()
        self.attempts: list[float] = []

    async def work(self, seconds: float) -> None:
        """Let the workers work for so long."""
        worker = Worker(
            self.queue, self.corridor.cluster, self.corridor.basis, self.corridor.clock, self.metrics
        )
        tasks = [asyncio.create_task(worker.run()) for _ in range(WORKERS)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fail(self, error: Callable[[], Exception], times: float = float("inf"), only: str = "") -> None:
        """Fail writes whose path contains `only`, so many times."""
        left = times

        def before(request: Request) -> None:
            nonlocal left
            if only in request.path and left > 0:
                left -= 1
                self.attempts.append(asyncio.get_running_loop().time())
                raise error()

        self.corridor.api.before = before

    def count(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "gemma_operator_reconcile_seconds_count", {"outcome": outcome}
        )
        return value or 0.0


def test_a_passing_failure_is_retried_with_growing_delays_and_not_told() -> None:
    async def body() -> None:
        shop = Shop()
        shop.fail(lambda: UnavailableError("503"), times=3, only="serviceaccounts")
        shop.queue.add(KEY)
        await shop.work(60.0)
        assert shop.attempts == [0.0, 1.0, 3.0]
        assert shop.corridor.condition("Planned")["status"] == "True"
        assert shop.count("ApiUnavailable") == 3

    run(body())


def test_retry_after_is_waited_for() -> None:
    async def body() -> None:
        shop = Shop()
        shop.fail(lambda: UnavailableError("429", retry_after_seconds=20.0), times=1, only="serviceaccounts")
        shop.queue.add(KEY)
        await shop.work(19.9)
        assert shop.corridor.children() == {}
        await shop.work(1.0)
        assert shop.corridor.children() != {}

    run(body())


def test_a_missing_permission_is_told_and_its_grant_noticed() -> None:
    async def body() -> None:
        shop = Shop()
        shop.fail(lambda: ForbiddenError("cannot create services"), times=8, only="/services")
        shop.queue.add(KEY)
        await shop.work(5.0)
        ready = shop.corridor.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", "Forbidden")
        assert "cannot create services" in ready["message"]
        await shop.work(300.0)
        assert shop.corridor.condition("Planned")["status"] == "True"
        assert shop.corridor.condition("Ready")["reason"] != "Forbidden"

    run(body())


def test_a_lasting_failure_writes_the_status_once() -> None:
    async def body() -> None:
        shop = Shop()
        shop.fail(lambda: ForbiddenError("cannot create services"), only="/services")
        shop.queue.add(KEY)
        await shop.work(3600.0)
        statuses = [request for request in shop.corridor.api.writes if request.path.endswith("/status")]
        assert len(shop.attempts) > 100
        assert len(statuses) == 1

    run(body())


def test_a_defect_is_logged_with_its_trace_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        shop = Shop()
        shop.fail(lambda: ZeroDivisionError("boom"), only="/services")
        shop.queue.add(KEY)
        await shop.work(0.5)
        assert shop.corridor.condition("Ready")["reason"] == "InternalError"

    run(body())
    assert "ZeroDivisionError" in caplog.text
    assert "Traceback" in caplog.text


def test_a_hanging_resource_does_not_starve_another() -> None:
    async def body() -> None:
        shop = Shop()
        other = ObjectKey(KEY.api_version, KEY.kind, KEY.namespace, "other")
        send = shop.corridor.api.send

        async def slow(request: Request) -> Any:
            if "assistant" in str(request.body):
                await asyncio.sleep(1000.0)
            return await send(request)

        shop.corridor.api.send = slow  # type: ignore[method-assign]
        shop.corridor.api.put(
            {**shop.corridor.api.objects[KEY], "metadata": {"name": "other", "namespace": "team-a"}}
        )
        shop.corridor.relist()
        shop.queue.add(KEY)
        shop.queue.add(other)
        await shop.work(10.0)
        assert "Deployment/other" in shop.corridor.children()
        assert "Deployment/assistant" not in shop.corridor.children()

    run(body())


def test_every_resource_is_looked_at_again_without_an_event() -> None:
    async def body() -> None:
        shop = Shop()
        shop.queue.add(KEY)
        await shop.work(3.5 * shop.corridor.basis.settings.resync_seconds)
        assert shop.count("done") == 4

    run(body())


def test_a_deleted_resource_is_forgotten() -> None:
    async def body() -> None:
        shop = Shop()
        shop.queue.add(KEY)
        await shop.work(1.0)
        gone = shop.corridor.api.remove(KEY)
        shop.corridor.index.discard(KEY, int(gone["metadata"]["resourceVersion"]))
        await shop.work(3600.0)
        assert shop.count("done") == 2

    run(body())
