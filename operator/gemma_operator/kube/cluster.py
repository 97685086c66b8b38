"""What the controller may ask of Kubernetes, and the implementation of it on the official client."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from gemma_operator.api.manifest import (
    MANAGER,
    Manifest,
    ObjectKey,
    controller_uid,
    is_shared,
    object_key,
)
from gemma_operator.kube import sharing
from gemma_operator.kube.apiserver import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, ApiServer, Request
from gemma_operator.kube.errors import (
    ConflictError,
    InvalidError,
    NameTakenError,
    NotFoundError,
    UnavailableError,
)
from gemma_operator.kube.index import Index
from gemma_operator.kube.informer import Changed, Informer
from gemma_operator.kube.kinds import (
    EVENT_KINDS,
    GEMMA_DEPLOYMENT,
    INDEXED_KINDS,
    KINDS,
    NODE,
    POD,
    Kind,
    kind_of,
)
from gemma_operator.kube.merge import merge_patch

DEFINITION_SECONDS = 2.0
"""Between looks for the CustomResourceDefinition, which is usually there."""

logger = logging.getLogger(__name__)

_APPLY = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
_STATUS = {"fieldManager": MANAGER, "fieldValidation": "Ignore"}
_CREATE = {"fieldManager": MANAGER, "fieldValidation": "Strict"}


class Cluster(Protocol):
    """The world as reconcile sees it. Reads are answered from memory; each write is one request."""

    def resource(self, key: ObjectKey) -> Manifest | None:
        """The GemmaDeployment, or None when there is none."""

    def children(self, key: ObjectKey) -> tuple[Manifest, ...]:
        """What is labelled as the GemmaDeployment's or used by it, pods included, and Warning events."""

    def follow(self, key: ObjectKey, claims: Collection[ObjectKey]) -> None:
        """Count these claims, and what fills them, among its children, whether it refers to them or not."""

    def nodes(self) -> tuple[Manifest, ...]:
        """All nodes."""

    def pods(self) -> Iterator[Manifest]:
        """The pods of every GemmaDeployment, one after the other: they are many."""

    def serves(self, kind: str) -> bool:
        """Whether the API server has an optional kind."""

    async def release_replicas(self, deployment: Manifest, replicas: int) -> Manifest:
        """Stop owning `replicas` without changing pods; returns the Deployment. Raises ClusterError."""

    async def apply(self, manifest: Manifest, observed: Manifest | None) -> None:
        """Create the object, or make `observed` like the manifest. Raises ClusterError."""

    async def mark(self, pod: Manifest, metadata: Manifest) -> None:
        """Change labels and annotations of a pod; it may be gone already. Raises ClusterError."""

    async def delete(self, key: ObjectKey) -> None:
        """Delete an object and what it owns; it may be gone already. Raises ClusterError."""

    async def leave(self, key: ObjectKey, uid: str) -> None:
        """Give up an object that others may use as well; the last one deletes it. Raises ClusterError."""

    async def last_words(self, pod: ObjectKey, container: str) -> Any:
        """The last line of a container's log, which is JSON. Raises ClusterError."""

    async def apply_status(self, resource: Manifest, status: Manifest) -> None:
        """Write the whole status of a GemmaDeployment. Raises ClusterError."""

    async def announce(self, event: Manifest) -> None:
        """Post an Event, unless it was posted before under the same name. Raises ClusterError."""

    async def confirm(self, resource: Manifest) -> bool:
        """Ask the API server whether the resource still exists; forget it otherwise. Raises ClusterError."""


class KubernetesCluster:
    """Cluster on a real API server."""

    def __init__(self, api: ApiServer, index: Index) -> None:
        self._api = api
        self._index = index
        self._stripped: dict[ObjectKey, tuple[Manifest, Manifest]] = {}
        """Statuses of which an older CRD kept less than was sent: what was sent, and what was kept."""

    def resource(self, key: ObjectKey) -> Manifest | None:
        """The GemmaDeployment, or None when there is none."""
        return self._index.get(key)

    def children(self, key: ObjectKey) -> tuple[Manifest, ...]:
        """What is labelled as the GemmaDeployment's or used by it, pods included, and Warning events."""
        return self._index.children(key)

    def follow(self, key: ObjectKey, claims: Collection[ObjectKey]) -> None:
        """Count these claims, and what fills them, among its children, whether it refers to them or not."""
        self._index.follow(key, claims)

    def nodes(self) -> tuple[Manifest, ...]:
        """All nodes."""
        return self._index.all(NODE.name)

    def pods(self) -> Iterator[Manifest]:
        """The pods of every GemmaDeployment, one after the other: they are many."""
        for key in list(self._index.keys(POD.name)):
            pod = self._index.get(key)
            if pod is not None:
                yield pod

    def serves(self, kind: str) -> bool:
        """Whether the API server has an optional kind."""
        return self._index.serves(kind)

    async def release_replicas(self, deployment: Manifest, replicas: int) -> Manifest:
        """Stop owning `replicas` without changing pods; returns the Deployment. Raises ClusterError.

        An apply that merely leaves the field out would reset it to 1, its default, since nobody else owns it.
        So it is first handed to another field manager, from which an autoscaler takes it with its first write
        (kubernetes.io, Server-Side Apply, "Transferring ownership").
        """
        owns = (
            entry["manager"] == MANAGER and entry.get("replicas")
            for entry in deployment["metadata"].get("managedFields") or ()
        )
        if not any(owns):
            return deployment
        kind, metadata = kind_of(deployment), deployment["metadata"]
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {name: metadata[name] for name in ("name", "namespace", "uid")},
            "spec": {"replicas": replicas},
        }
        path = kind.path(metadata["namespace"], metadata["name"])
        handed = {**_APPLY, "fieldManager": f"{MANAGER}-replicas"}
        self._index.put(await self._api.send(Request("PATCH", path, handed, body, APPLY_PATCH)))
        return self._index.get(object_key(deployment)) or deployment

    async def apply(self, manifest: Manifest, observed: Manifest | None) -> None:
        """Create the object, or make `observed` like the manifest. Raises ClusterError.

        An object is created by POST, because only that fails when the name is taken: server-side apply would
        adopt the other's object. What was created so is first handed over from "Update" to "Apply" in
        managedFields (as kubectl does when it turns to server-side apply), or fields dropped later
        would stay.
        """
        kind = kind_of(manifest)
        if observed is not None and not _is_ours(manifest, observed):
            raise NameTakenError(_taken(object_key(manifest), observed))
        if observed is None:
            try:
                answer = await self._api.send(
                    Request("POST", kind.path(manifest["metadata"]["namespace"]), _CREATE, manifest)
                )
            except ConflictError:
                observed = await self._find_own(kind, manifest)
                await self._patch(kind, manifest, observed)
                return
            self._index.put(answer)
        else:
            await self._patch(kind, manifest, observed)

    async def _patch(self, kind: Kind, manifest: Manifest, observed: Manifest) -> None:
        if is_shared(manifest):
            await sharing.join(self._api, self._index, manifest, observed)
            return
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        position = _created_by_post(observed)
        if position is not None:
            try:
                await self._api.send(Request("PATCH", path, None, _hand_over(position), JSON_PATCH))
            except InvalidError as error:
                raise ConflictError(f"{object_key(manifest)} changed meanwhile: {error}") from error
        # The uid makes the API server refuse to create: the object may have been deleted since it was seen.
        same = {**manifest, "metadata": {**metadata, "uid": observed["metadata"]["uid"]}}
        apply = Request("PATCH", path, _APPLY, same, APPLY_PATCH)
        try:
            answer = await self._api.send(apply)
        except InvalidError:
            # Apply merges keyed lists item by item. Where somebody changed a key (port 80 of a Service), it
            # keeps theirs beside ours, and the two contradict each other. A merge patch replaces the
            # list. If it is refused as well, the manifest itself is what the API server will not take.
            replaced = await self._api.send(Request("PATCH", path, _CREATE, same, MERGE_PATCH))
            position = _created_by_post(replaced)
            if position is not None:
                await self._api.send(Request("PATCH", path, None, _hand_over(position), JSON_PATCH))
            answer = await self._api.send(apply)
        self._index.put(answer)

    async def _find_own(self, kind: Kind, manifest: Manifest) -> Manifest:
        """The object that stands in the way of a creation, if it is our own and the watch was late."""
        metadata = manifest["metadata"]
        page = await self._api.send(
            Request(
                "GET",
                kind.path(metadata["namespace"]),
                {"fieldSelector": f"metadata.name={metadata['name']}"},
            )
        )
        for found in page["items"]:
            own: Manifest = {**found, "apiVersion": kind.api_version, "kind": kind.name}
            if not _is_ours(manifest, own):
                raise NameTakenError(_taken(object_key(manifest), found))
            self._index.put(own)
            return own
        raise ConflictError(f"{object_key(manifest)} was there and went while it was being created")

    async def await_definition(self) -> None:
        """Wait until the API server serves GemmaDeployments. Raises ClusterError other than a passing one."""
        told = ""
        while True:
            try:
                found = await self._api.send(Request("GET", f"/apis/{GEMMA_DEPLOYMENT.api_version}"))
                if any(resource["name"] == GEMMA_DEPLOYMENT.plural for resource in found["resources"]):
                    return
                waiting = "the API server does not serve GemmaDeployments"
            except NotFoundError:
                waiting = "the CustomResourceDefinition of GemmaDeployments is not installed"
            except UnavailableError as error:
                waiting = str(error)
            if waiting != told:
                logger.warning("waiting: %s", waiting)
                told = waiting
            await asyncio.sleep(DEFINITION_SECONDS)

    async def mark(self, pod: Manifest, metadata: Manifest) -> None:
        """Change labels and annotations of a pod; it may be gone already. Raises ClusterError."""
        key = object_key(pod)
        body = {"metadata": {**metadata, "uid": pod["metadata"]["uid"]}}
        try:
            answer = await self._api.send(
                Request("PATCH", POD.path(key.namespace, key.name), _CREATE, body, MERGE_PATCH)
            )
        except NotFoundError:
            return
        self._index.put(answer)

    async def delete(self, key: ObjectKey) -> None:
        """Delete an object and what it owns; it may be gone already. Raises ClusterError."""
        known = self._index.get(key)
        path = KINDS[key.api_version, key.kind].path(key.namespace, key.name)
        options: Manifest = {"propagationPolicy": "Background"}
        if known is not None:
            options["preconditions"] = {"uid": known["metadata"]["uid"]}
        try:
            await self._api.send(Request("DELETE", path, None, options))
        except NotFoundError:
            return

    async def leave(self, key: ObjectKey, uid: str) -> None:
        """Give up an object that others may use as well; the last one deletes it. Raises ClusterError."""
        await sharing.leave(self._api, self._index, key, uid)

    async def apply_status(self, resource: Manifest, status: Manifest) -> None:
        """Write the whole status of a GemmaDeployment. Raises ClusterError.

        Not by server-side apply, which refuses all of it for one field that an older CRD does not know. A
        merge patch loses that field and no other; what was lost is not sent again for nothing.
        """
        key, stored = object_key(resource), resource.get("status") or {}
        if self._stripped.get(key) == (status, stored):
            return
        kept = await self._patch_status(resource, stored, status)
        if kept is not None and kept != status:
            # What was stored may have been older than what is there: the answer to an earlier write got lost,
            # and its watch event is late. From the answer to this one the patch is exact.
            kept = await self._patch_status(resource, kept, status)
        self._stripped.pop(key, None)
        if kept is not None and kept != status:
            self._stripped[key] = (status, kept)

    async def _patch_status(self, resource: Manifest, stored: Manifest, status: Manifest) -> Manifest | None:
        """Send the difference; returns the status that came of it, or None where the resource is gone."""
        metadata = resource["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": merge_patch(stored, status)}
        path = GEMMA_DEPLOYMENT.path(metadata["namespace"], metadata["name"], "status")
        try:
            answer = await self._api.send(Request("PATCH", path, _STATUS, body, MERGE_PATCH))
        except NotFoundError:
            self._forget(resource)
            return None
        self._index.put(answer)
        found: Manifest = answer.get("status") or {}
        return found

    async def last_words(self, pod: ObjectKey, container: str) -> Any:
        """The last line of a container's log, which is JSON. Raises ClusterError."""
        query = {"container": container, "tailLines": "1"}
        return await self._api.send(Request("GET", POD.path(pod.namespace, pod.name, "log"), query))

    async def announce(self, event: Manifest) -> None:
        """Post an Event, unless it was posted before under the same name. Raises ClusterError."""
        path = kind_of(event).path(event["metadata"]["namespace"])
        try:
            await self._api.send(Request("POST", path, None, event))
        except ConflictError:
            return

    async def confirm(self, resource: Manifest) -> bool:
        """Ask the API server whether the resource still exists; forget it otherwise. Raises ClusterError."""
        metadata = resource["metadata"]
        page = await self._api.send(
            Request(
                "GET",
                GEMMA_DEPLOYMENT.path(metadata["namespace"]),
                {"fieldSelector": f"metadata.name={metadata['name']}"},
            )
        )
        if any(found["metadata"]["uid"] == metadata["uid"] for found in page["items"]):
            return True
        self._forget(resource)
        return False

    def _forget(self, resource: Manifest) -> None:
        self._stripped.pop(object_key(resource), None)
        self._index.discard(object_key(resource), int(resource["metadata"]["resourceVersion"]))


def informers(api: ApiServer, index: Index, namespaces: Sequence[str], changed: Changed) -> list[Informer]:
    """One for each kind and namespace; one for each kind where all namespaces are watched."""
    places: Iterable[str | None] = namespaces or (None,)
    pages = asyncio.Semaphore(1)
    return [
        Informer(api, index, kind, place, changed, pages)
        for kind in INDEXED_KINDS
        for place in (places if kind.namespaced else (None,))
    ]


async def follow(watches: Sequence[Informer], synced: Callable[[], None]) -> None:
    """Run all of them until cancelled; a defect in one ends all. Calls `synced` when the index is complete.

    Events come last: they are remembered only if what they are about is known.
    """
    complaints = [watch for watch in watches if watch.kind in EVENT_KINDS]
    others = [watch for watch in watches if watch.kind not in EVENT_KINDS]
    async with asyncio.TaskGroup() as group:
        for batch in (others, complaints):
            for watch in batch:
                group.create_task(watch.run(), name=f"watch {watch.kind.plural}")
            for watch in batch:
                await watch.synced()
        synced()


def _created_by_post(observed: Manifest) -> int | None:
    """Position in managedFields of the entry that our POST made, while it is one of an update."""
    for position, entry in enumerate(observed["metadata"].get("managedFields") or ()):
        if entry["manager"] == MANAGER and entry["operation"] == "Update" and not entry.get("subresource"):
            return position
    return None


def _hand_over(position: int) -> list[Manifest]:
    entry = f"/metadata/managedFields/{position}"
    return [
        {"op": "test", "path": f"{entry}/manager", "value": MANAGER},
        {"op": "test", "path": f"{entry}/operation", "value": "Update"},
        {"op": "replace", "path": f"{entry}/operation", "value": "Apply"},
    ]


def _is_ours(manifest: Manifest, observed: Manifest) -> bool:
    """Whether the object of that name has the controller it should, or is one that users share."""
    if is_shared(manifest):
        return sharing.may_join(manifest, observed)
    return controller_uid(observed) == controller_uid(manifest)


def _taken(key: ObjectKey, found: Manifest) -> str:
    metadata = found["metadata"]
    references = metadata.get("ownerReferences") or ()
    holders = ", ".join(f"{reference['kind']} {reference['name']}" for reference in references)
    managers = ", ".join(sorted({entry["manager"] for entry in metadata.get("managedFields") or ()}))
    holder = holders or (f"whoever made it with {managers}" if managers else "somebody else")
    return (
        f"needs the name of {key}, which belongs to {holder}. Rename one of the two, or delete the {key.kind}"
    )
