"""One watch, against answers that the test writes down: lists, events, gaps and failures."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import pairwise
from typing import Any

from gemma_operator.api.manifest import OWNER_LABEL, Manifest, ObjectKey
from gemma_operator.kube.apiserver import Request
from gemma_operator.kube.errors import ForbiddenError, GoneError, UnavailableError
from gemma_operator.kube.index import Index
from gemma_operator.kube.informer import LONGEST_DELAY_SECONDS, Informer
from gemma_operator.kube.kinds import POD, Kind
from support.virtual_time import VirtualTimeLoop

Answer = Manifest | list[Manifest] | Exception | float
"""A number: a watch that is opened, says nothing for so many seconds, and is given up."""


def pod(name: str, version: int, phase: str = "Pending") -> Manifest:
    metadata = {
        "name": name, "namespace": "team-a", "uid": name, "resourceVersion": str(version),
        "labels": {OWNER_LABEL: "assistant"},
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": phase}}


def page(version: int, *items: Manifest, following: str | None = None) -> Manifest:
    bare = [
        {name: value for name, value in item.items() if name not in ("apiVersion", "kind")} for item in items
    ]
    return {"metadata": {"resourceVersion": str(version), "continue": following}, "items": bare}


def event(kind: str, item: Manifest) -> Manifest:
    return {"type": kind, "object": item}


def bookmark(version: int) -> Manifest:
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})


class Script:
    """Answers lists and watches in the order written down; then stays silent."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[float, dict[str, str]]] = []

    async def _next(self, request: Request) -> Any:
        self.requests.append((asyncio.get_running_loop().time(), dict(request.query or {})))
        if not self._answers:
            await asyncio.get_running_loop().create_future()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def send(self, request: Request) -> Manifest:
        return await self._next(request)  # type: ignore[no-any-return]

    async def watch(self, request: Request, opened: Callable[[], None]) -> AsyncIterator[Manifest]:
        events = await self._next(request)
        opened()
        if isinstance(events, float):
            await asyncio.sleep(events)
            return
        for each in events:
            yield each


class Followed:
    """An informer with its index, and what it told of."""

    def __init__(self, *answers: Answer) -> None:
        self.script = Script(*answers)
        self.index = Index()
        self.told: list[ObjectKey | None] = []
        self.informer = Informer(self.script, self.index, POD, None, self._changed, asyncio.Semaphore(1))  # type: ignore[arg-type]

    def _changed(self, kind: Kind, owner: ObjectKey | None) -> None:
        assert kind is POD
        self.told.append(owner)

    async def follow(self, seconds: float = 3600.0) -> None:
        task = asyncio.create_task(self.informer.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def names(self) -> list[str]:
        return sorted(key.name for key in self.index.keys("Pod"))


def followed(*answers: Answer, seconds: float = 3600.0) -> Followed:
    """Let an informer follow the script on a virtual clock."""

    async def body() -> Followed:
        result = Followed(*answers)
        await result.follow(seconds)
        return result

    return run(body)


def run(body: Callable[[], Coroutine[Any, Any, Followed]]) -> Followed:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(body())


def test_a_list_comes_in_pages_and_the_watch_goes_on_from_it() -> None:
    result = followed(
        page(7, pod("a", 1), following="more"), page(7, pod("b", 2)), [event("ADDED", pod("c", 8))]
    )
    assert result.names() == ["a", "b", "c"]
    first, second, watch, again = (query for _, query in result.script.requests)
    assert "continue" not in first
    assert second["continue"] == "more"
    assert watch["resourceVersion"] == "7"
    assert again["resourceVersion"] == "8"
    assert result.informer.freshness.synced


def test_only_changes_are_told() -> None:
    result = followed(
        page(7, pod("a", 1)),
        [event("MODIFIED", pod("a", 8)), event("MODIFIED", pod("a", 9, phase="Running"))],
    )
    assert len(result.told) == 2


def test_bookmarks_move_the_version_on() -> None:
    result = followed(page(7), [bookmark(90)])
    assert result.script.requests[-1][1]["resourceVersion"] == "90"


def test_after_a_gap_deletions_that_nobody_told_of_are_found() -> None:
    gone = event("ERROR", {"code": 410, "message": "too old resource version"})
    result = followed(page(7, pod("a", 1), pod("b", 2)), [gone], page(20, pod("b", 2)))
    assert result.names() == ["b"]
    assert len(result.told) == 3


def test_an_expired_watch_request_lists_again() -> None:
    result = followed(page(7, pod("a", 1)), GoneError("expired"), page(9, pod("a", 8)))
    assert result.script.requests[-1][1]["resourceVersion"] == "9"


def test_a_cut_watch_goes_on_where_it_was_without_a_list() -> None:
    result = followed(page(7), UnavailableError("cut"), [event("ADDED", pod("a", 8))])
    assert result.names() == ["a"]
    assert [query.get("limit") for _, query in result.script.requests][1:] == [None, None, None]


def test_failures_are_retried_with_growing_delays() -> None:
    result = followed(*[UnavailableError("down")] * 10, page(7))
    times = [time for time, _ in result.script.requests]
    delays = [later - earlier for earlier, later in pairwise(times)]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[9] == LONGEST_DELAY_SECONDS
    assert result.informer.freshness.synced


def test_retry_after_is_honoured() -> None:
    result = followed(UnavailableError("429", retry_after_seconds=40.0), page(7))
    assert result.script.requests[1][0] == 40.0


def test_a_missing_permission_is_said_once_and_its_grant_noticed(caplog: Any) -> None:
    denied = ForbiddenError("GET /api/v1/pods: cannot list resource pods")
    result = followed(*[denied] * 5, page(7, pod("a", 1)))
    assert caplog.text.count("cannot list resource pods") == 1
    assert result.informer.freshness.failure is None
    assert result.names() == ["a"]


def test_a_watch_that_is_open_again_works_though_nothing_happens() -> None:
    result = followed(page(7), UnavailableError("cut"), [])
    assert result.informer.freshness.failure is None


def test_what_does_not_work_is_known_while_it_lasts() -> None:
    result = followed(*[UnavailableError("down")] * 50, seconds=60.0)
    assert not result.informer.freshness.synced
    assert result.informer.freshness.failure == "down"
    assert result.informer.freshness.tried_at > 0.0


def test_a_watch_that_was_given_up_for_its_silence_was_not_heard() -> None:
    """Its age goes on from when it was opened, so that the alert does not come a silence late."""
    result = followed(page(1), 90.0, seconds=200.0)
    assert result.informer.freshness.heard_at < 1.0
    assert result.informer.freshness.tried_at >= 90.0


def test_a_watch_that_answers_again_after_a_silence_is_heard() -> None:
    result = followed(page(1), 90.0, 90.0, seconds=100.0)
    assert result.informer.freshness.heard_at >= 90.0
