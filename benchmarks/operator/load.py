"""What is done to the operator: resources by the thousand, edits, and objects of others."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.apiserver import ApiServer, Request
from gemma_operator.kube.errors import ConflictError
from gemma_operator.kube.kinds import GEMMA_DEPLOYMENT, KINDS, Kind

CALLERS = 16
"""Requests of ours at once: enough to be ahead of the operator."""
FIRST_CONTEXT = 1024
DEPLOYMENT = KINDS["apps/v1", "Deployment"]


def resource(namespace: str, name: str) -> Manifest:
    """A small endpoint."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"variant": "gemma-3-270m", "contextLength": FIRST_CONTEXT}},
    }


async def at_once(work: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Run all, CALLERS at a time."""
    queue = iter(list(work))

    async def caller() -> None:
        for each in queue:
            await each()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def create(api: ApiServer, path: str, manifest: Manifest) -> None:
    """Create unless it is there."""
    with suppress(ConflictError):
        await api.send(Request("POST", path, None, manifest))


async def create_resources(api: ApiServer, namespace: str, count: int) -> None:
    """`count` GemmaDeployments."""
    path = GEMMA_DEPLOYMENT.path(namespace)
    await at_once(
        [
            lambda number=number: create(api, path, resource(namespace, f"gemma-{number:05}"))
            for number in range(count)
        ]
    )


async def create_foreign(api: ApiServer, namespace: str, count: int) -> None:
    """`count` pods and as many Secrets that belong to nobody."""
    container = {
        "name": "c",
        "image": "registry.example/nothing:1",
        "env": [{"name": "A", "value": "x" * 500}],
    }
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"foreign-{number}", "namespace": namespace},
            "spec": {"containers": [container], "schedulerName": "nobody"},
        }
        for number in range(count)
    ]
    secrets = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"foreign-{number}", "namespace": namespace},
            "stringData": {"key": "x" * 500},
        }
        for number in range(count)
    ]
    places = {
        "Pod": f"/api/v1/namespaces/{namespace}/pods",
        "Secret": f"/api/v1/namespaces/{namespace}/secrets",
    }
    await at_once([lambda each=each: create(api, places[each["kind"]], each) for each in (*pods, *secrets)])


async def edit(api: ApiServer, namespace: str, name: str, replicas: int) -> None:
    """Change a resource as a user would."""
    path = GEMMA_DEPLOYMENT.path(namespace, name)
    await api.send(
        Request("PATCH", path, None, {"spec": {"replicas": replicas}}, "application/merge-patch+json")
    )


class Seen:
    """When each object of a kind first met a condition, by a watch of ours."""

    def __init__(self, met: Callable[[Manifest], bool]) -> None:
        self._met = met
        self.at: dict[str, float] = {}
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def watching(self, api: ApiServer, kind: Kind, namespace: str) -> AsyncIterator["Seen"]:
        """Watch from now on."""
        page = await api.send(Request("GET", kind.path(namespace), {"limit": "1"}))
        since = page["metadata"]["resourceVersion"]
        task = asyncio.create_task(self._follow(api, kind, namespace, since))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, count: int, seconds: float) -> bool:
        """Wait until so many met it; False if they did not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.at) < count:
                    self._changed.clear()
                    await self._changed.wait()
        return len(self.at) >= count

    async def _follow(self, api: ApiServer, kind: Kind, namespace: str, since: str) -> None:
        query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "3600"}
        async for event in api.watch(Request("GET", kind.path(namespace), query), opened=lambda: None):
            item = event["object"]
            if event["type"] in ("ADDED", "MODIFIED") and self._met(item):
                self.at.setdefault(item["metadata"]["name"], time.monotonic())
                self._changed.set()
