"""Looking at a cluster once, as the commands for people do: lists, reviews of permissions, no watches."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gemma_operator.api.base import GROUP, VERSION
from gemma_operator.api.manifest import Manifest
from gemma_operator.api.served import OPENAPI_PATH, unserved_fields
from gemma_operator.kube.apiserver import METADATA_LIST, ApiServer, Request
from gemma_operator.kube.errors import NotFoundError

T = TypeVar("T")


def looking(look: Callable[[ApiServer], Awaitable[T]]) -> T:
    """Connect as the environment says, look, and close. Raises ClusterError."""

    async def run() -> T:
        api = await ApiServer.connect(lambda request, code: None)
        try:
            return await look(api)
        finally:
            await api.close()

    return asyncio.run(run())


async def listed(api: ApiServer, path: str, query: dict[str, str] | None = None) -> list[Manifest]:
    """All objects of a collection; none where there is no such kind. Raises ClusterError."""
    try:
        found = await api.send(Request("GET", path, query))
    except NotFoundError:
        return []
    items: list[Manifest] = found["items"]
    return items


async def names_in(api: ApiServer, path: str) -> list[str]:
    """Names of the objects of a collection, of which nothing else is sent. Raises ClusterError."""
    found = await api.send(Request("GET", path, accept=METADATA_LIST))
    return [item["metadata"]["name"] for item in found["items"]]


async def missing_fields(api: ApiServer) -> tuple[str, ...]:
    """Fields that this version knows and the served schema does not. Raises ClusterError."""
    return unserved_fields(await api.send(Request("GET", f"{OPENAPI_PATH}/{GROUP}/{VERSION}")))


async def is_allowed(
    api: ApiServer, user: str | None, group: str, resource: str, verb: str, namespace: str | None
) -> bool:
    """Whether a user (None: whoever asks) may do this. Raises ClusterError."""
    name, _, subresource = resource.partition("/")
    attributes = {"group": group, "resource": name, "subresource": subresource, "verb": verb}
    if namespace is not None:
        attributes["namespace"] = namespace
    kind = "SelfSubjectAccessReview" if user is None else "SubjectAccessReview"
    spec: Manifest = {"resourceAttributes": attributes}
    if user is not None:
        spec["user"] = user
    version = "authorization.k8s.io/v1"
    body = {"apiVersion": version, "kind": kind, "spec": spec}
    answer = await api.send(Request("POST", f"/apis/{version}/{kind.lower()}s", None, body))
    return bool(answer["status"]["allowed"])
