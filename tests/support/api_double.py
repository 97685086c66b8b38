"""A Kubernetes API in memory, at the level of requests: creation, server-side apply, status, deletion, lists.

It stands in for the API server where a test has to fail or stop at one exact request. What it claims about
server-side apply is checked against the real API server in tests/apiserver.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any
from urllib.parse import unquote

from gemma_operator.api.manifest import MANAGER, Manifest, ObjectKey, object_key
from gemma_operator.kube.apiserver import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Request,
)
from gemma_operator.kube.errors import ConflictError, NotFoundError
from gemma_operator.kube.kinds import KINDS, Kind

Path = tuple[str, ...]


class ApiDouble:
    """Answers what `ApiServer.send` is given. `before` and `after` are called around writes and may raise."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Manifest] = {}
        self.writes: list[Request] = []
        self.reads: list[Request] = []
        self.logs: dict[str, Manifest] = {}
        """Last line of each pod's log, by the pod's name."""
        self.before: Callable[[Request], None] = lambda _: None
        self.after: Callable[[Request], None] = lambda _: None
        self._created: dict[ObjectKey, set[Path]] = {}
        self._applied: dict[ObjectKey, set[Path]] = {}
        self._handed: dict[ObjectKey, set[Path]] = {}
        self.version = 100
        self.unserved_status_fields: set[str] = set()
        """Of an older CRD: pruned from every status."""

    def put(self, manifest: Manifest) -> Manifest:
        """What somebody else created or changed: generation and version move on."""
        key = object_key(manifest)
        known = self.objects.get(key)
        metadata = {**deepcopy(manifest["metadata"])}
        metadata.setdefault("uid", f"uid-{key.kind}-{key.name}-{self.version}")
        stored = {**deepcopy(manifest), "metadata": metadata}
        if known is None or known.get("spec") != stored.get("spec"):
            metadata["generation"] = (known["metadata"]["generation"] if known else 0) + 1
        self.objects[key] = stored
        return self._stamp(stored)

    def remove(self, key: ObjectKey) -> Manifest:
        """Delete an object, and whatever belongs to nobody else, as the garbage collector would."""
        gone = self.objects.pop(key)
        self._applied.pop(key, None)
        for child in list(self.objects.values()):
            references = child["metadata"].get("ownerReferences") or []
            kept = [reference for reference in references if reference["uid"] != gone["metadata"]["uid"]]
            if kept and kept != references:
                child["metadata"]["ownerReferences"] = kept
                self._stamp(child)
            elif references and not kept and object_key(child) in self.objects:
                self.remove(object_key(child))
        return self._stamp(gone)

    async def send(self, request: Request) -> Manifest:
        """As ApiServer.send."""
        if request.method == "GET":
            self.reads.append(request)
            return self._log(request) if request.path.endswith("/log") else self._list(request)
        self.before(request)
        self.writes.append(request)
        answer = deepcopy(self._write(request))
        self.after(request)
        return answer

    def _write(self, request: Request) -> Manifest:
        kind, namespace, name, subresource = parse(request.path)
        if request.method == "POST":
            return self._create(kind, request.body)
        key = ObjectKey(kind.api_version, kind.name, namespace, name)
        if request.method == "DELETE":
            if key not in self.objects:
                raise NotFoundError(f"{request}: not found")
            self._check_version(key, request.body.get("preconditions", {}))
            return self.remove(key)
        if request.content_type == JSON_PATCH:
            return self._hand_over(key, request.body)
        if subresource:
            assert request.content_type == MERGE_PATCH
            return self._patch_status(key, request.body)
        if request.content_type in (STRATEGIC_MERGE_PATCH, MERGE_PATCH):
            is_shared = request.content_type == STRATEGIC_MERGE_PATCH
            return (self._patch_users if is_shared else self._patch_metadata)(key, request.body["metadata"])
        assert request.content_type == APPLY_PATCH
        is_ours = (request.query or {})["fieldManager"] == MANAGER
        return (self._apply if is_ours else self._apply_for_another)(key, request.body)

    def _create(self, kind: Kind, manifest: Manifest) -> Manifest:
        key = object_key(manifest)
        if key in self.objects:
            raise ConflictError(f"{kind.plural} {key.name!r} already exists")
        created = self.put(manifest)
        created["metadata"]["managedFields"] = [
            {"manager": MANAGER, "operation": "Update", **owned(manifest)}
        ]
        self._created[key] = leaves(manifest)
        return created

    def _hand_over(self, key: ObjectKey, patch: list[Manifest]) -> Manifest:
        position = int(patch[0]["path"].split("/")[3])
        entry = self.objects[key]["metadata"]["managedFields"][position]
        entry["operation"] = "Apply"
        self._applied[key] = self._created.pop(key)
        return self._stamp(self.objects[key])

    def _patch_metadata(self, key: ObjectKey, patch: Manifest) -> Manifest:
        live = self.objects.get(key)
        if live is None or live["metadata"]["uid"] != patch["uid"]:
            raise NotFoundError(f"no such object: {key}")
        for part in ("labels", "annotations"):
            merged = {**live["metadata"].get(part, {}), **patch.get(part, {})}
            live["metadata"][part] = {name: value for name, value in merged.items() if value is not None}
        return self._stamp(live)

    def _patch_users(self, key: ObjectKey, patch: Manifest) -> Manifest:
        """A strategic merge patch of metadata: owner references are a map by uid."""
        if key not in self.objects:
            raise NotFoundError(f"no such object: {key}")
        self._check_version(key, patch)
        live = self.objects[key]["metadata"]
        references = {reference["uid"]: reference for reference in live.get("ownerReferences") or ()}
        for reference in patch["ownerReferences"]:
            if reference.get("$patch") == "delete":
                references.pop(reference["uid"], None)
            else:
                references[reference["uid"]] = deepcopy(reference)
        live["ownerReferences"] = list(references.values())
        for part in ("labels", "annotations"):
            if part in patch:
                merged = {**live.get(part, {}), **patch[part]}
                live[part] = {name: value for name, value in merged.items() if value is not None}
        return self._stamp(self.objects[key])

    def _check_version(self, key: ObjectKey, seen: Manifest) -> None:
        metadata = self.objects[key]["metadata"]
        if any(seen.get(name, metadata[name]) != metadata[name] for name in ("uid", "resourceVersion")):
            raise ConflictError(f"{key} is not what was seen")

    def _apply(self, key: ObjectKey, body: Manifest) -> Manifest:
        live = self.objects.get(key)
        if live is None or live["metadata"]["uid"] != body["metadata"]["uid"]:
            raise ConflictError(f"uid mismatch: {key}")
        before = deepcopy(live.get("spec"))
        for path in self._applied.get(key, set()) - leaves(body) - self._handed.get(key, set()):
            if path[-1] not in ("resourceVersion", "generation", "uid", "managedFields"):
                remove(live, path)
        merge(live, body)
        self._applied[key] = leaves(body)
        if key.kind == "Deployment":
            live["spec"].setdefault("replicas", 1)  # as the API server defaults it
        for entry in live["metadata"].get("managedFields", ()):
            if entry["manager"] == MANAGER:
                entry.pop("fieldsV1", None)
                entry.update(owned(body))
        if live.get("spec") != before:
            live["metadata"]["generation"] += 1
        return self._stamp(live)

    def _apply_for_another(self, key: ObjectKey, body: Manifest) -> Manifest:
        """Under another field manager: what it names stays when ours lets go of it."""
        live = self.objects[key]
        assert live["metadata"]["uid"] == body["metadata"]["uid"]
        before = deepcopy(live.get("spec"))
        merge(live, body)
        self._handed[key] = {path for path in leaves(body) if path[0] == "spec"}
        if live.get("spec") != before:
            live["metadata"]["generation"] += 1
        return self._stamp(live)

    def _patch_status(self, key: ObjectKey, body: Manifest) -> Manifest:
        live = self.objects.get(key)
        if live is None or live["metadata"]["uid"] != body["metadata"]["uid"]:
            raise NotFoundError(f"{key} not found")
        live.setdefault("status", {})
        merge_patched(live["status"], body["status"])
        for field in self.unserved_status_fields:
            live["status"].pop(field, None)
        return self._stamp(live)

    def _list(self, request: Request) -> Manifest:
        kind, namespace, _, _ = parse(request.path)
        name = unquote((request.query or {}).get("fieldSelector", "")).removeprefix("metadata.name=")
        items = [
            deepcopy(found)
            for key, found in self.objects.items()
            if key.kind == kind.name and key.namespace == namespace and name in ("", key.name)
        ]
        return {"metadata": {"resourceVersion": str(self.version)}, "items": items}

    def _log(self, request: Request) -> Manifest:
        _, _, name, _ = parse(request.path)
        if name not in self.logs:
            raise NotFoundError(f"pods {name!r} not found")
        return deepcopy(self.logs[name])

    def _stamp(self, manifest: Manifest) -> Manifest:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        return manifest


def parse(path: str) -> tuple[Kind, str, str, str]:
    """Kind, namespace, name and subresource of a namespaced path."""
    parts = path.strip("/").split("/")
    version = parts[1] if parts[0] == "api" else "/".join(parts[1:3])
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace, plural, name, subresource = (*rest[1:], "", "")[:4]
    kind = next(kind for kind in KINDS.values() if (kind.api_version, kind.plural) == (version, plural))
    return kind, namespace, name, subresource


def owned(manifest: Manifest) -> Manifest:
    """Of `fieldsV1`, what anybody looks at."""
    return {"fieldsV1": {"f:spec": {"f:replicas": {}}}} if "replicas" in manifest.get("spec", {}) else {}


def leaves(value: Any, path: Path = ()) -> set[Path]:
    """Paths of all values; a list counts as one value."""
    if isinstance(value, dict) and value:
        return {leaf for name, below in value.items() for leaf in leaves(below, (*path, name))}
    return {path}


def remove(value: Manifest, path: Path) -> None:
    """Remove what is at the path."""
    for name in path[:-1]:
        value = value.get(name, {})
    value.pop(path[-1], None)


def merge_patched(live: Manifest, patch: Manifest) -> None:
    """Apply a JSON merge patch (RFC 7386)."""
    for name, value in patch.items():
        if value is None:
            live.pop(name, None)
        elif isinstance(value, dict):
            live[name] = live[name] if isinstance(live.get(name), dict) else {}
            merge_patched(live[name], value)
        else:
            live[name] = deepcopy(value)


def merge(live: Manifest, body: Manifest) -> None:
    """Write the values of the body into the live object."""
    for name, value in body.items():
        if isinstance(value, dict) and isinstance(live.get(name), dict):
            merge(live[name], value)
        else:
            live[name] = deepcopy(value)
