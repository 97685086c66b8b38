"""The operator's memory of the cluster: trimmed objects by key and by GemmaDeployment, newest version wins.

Objects are kept as compressed JSON: a Deployment is some 40 KiB as Python dictionaries and some 2 KiB so; a
reconcile reads a dozen of them, and decoding one takes some 50 µs.
"""

import json
import zlib
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import OWNER_LABEL, Manifest, ObjectKey, object_key
from gemma_operator.kube.kinds import kind_of, trimmed

_FASTEST = 1
"""zlib level: higher ones cost twice the time for a tenth of the space on these documents."""
_REMEMBERED_DELETIONS = 1024
"""Deletions kept to recognise an answer that was overtaken by one; such an answer is milliseconds late."""


@dataclass(slots=True)
class _Entry:
    version: int
    owner: ObjectKey | None
    document: bytes


class Index:
    """Objects by key, and the children of each GemmaDeployment.

    Both watches and answers to our own writes are put here, so that a reconcile reads what it wrote.
    """

    def __init__(self) -> None:
        self._entries: dict[ObjectKey, _Entry] = {}
        self._changes: Counter[str] = Counter()
        self._lists: dict[str, tuple[int, tuple[Manifest, ...]]] = {}
        self._children: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)
        self._deleted: OrderedDict[ObjectKey, int] = OrderedDict()
        self._served: set[str] = set()
        """Optional kinds that are served."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, manifest: Manifest) -> bool:
        """Remember an object, unless a newer version of it is known; say whether anything kept of it changed.

        Resource versions of one kind are ordered integers (KEP-5504; etcd's revisions before that).
        """
        key = object_key(manifest)
        version = int(manifest["metadata"]["resourceVersion"])
        known = self._entries.get(key)
        if (known is not None and known.version >= version) or self._deleted.get(key, 0) >= version:
            return False
        owner = self._owner_of(manifest)
        if owner is None and manifest["kind"] == "Event":
            return False
        document = _encode(trimmed(kind_of(manifest), manifest))
        if known is not None and known.owner is not None and known.owner != owner:
            self._children[known.owner].discard(key)
        self._entries[key] = _Entry(version, owner, document)
        if owner is not None and owner != key:
            self._children[owner].add(key)
        if known is not None and known.document == document:
            return False
        self._changes[key.kind] += 1
        return True

    def discard(self, key: ObjectKey, version: int) -> ObjectKey | None:
        """Forget an object deleted at `version`; returns the GemmaDeployment it concerned."""
        self._deleted[key] = max(version, self._deleted.get(key, 0))
        self._deleted.move_to_end(key)
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        entry = self._entries.get(key)
        if entry is None or entry.version > version:
            return None
        del self._entries[key]
        self._changes[key.kind] += 1
        if entry.owner is not None and entry.owner != key:
            children = self._children[entry.owner]
            children.discard(key)
            if not children:
                del self._children[entry.owner]
        return entry.owner

    def retain(
        self, kind: str, namespace: str | None, present: set[ObjectKey], version: int
    ) -> list[ObjectKey]:
        """Forget what a fresh list of a kind no longer names; returns the GemmaDeployments concerned.

        An object written after the list was taken (newer than `version`) stays.
        """
        missing = [
            key
            for key, entry in self._entries.items()
            if key.kind == kind
            and (namespace is None or key.namespace == namespace)
            and key not in present
            and entry.version <= version
        ]
        owners = [self.discard(key, version) for key in missing]
        return [owner for owner in owners if owner is not None]

    def serves(self, kind: str, *, told: bool | None = None) -> bool:
        """Whether the API server has an optional kind; `told`: what has just been found out."""
        if told is not None:
            (self._served.add if told else self._served.discard)(kind)
        return kind in self._served

    def drop(self, kind: str, namespace: str | None) -> list[ObjectKey]:
        """Forget all objects of a kind that is no longer served; returns the GemmaDeployments concerned."""
        gone = [key for key in self.keys(kind) if namespace is None or key.namespace == namespace]
        owners = [self.discard(key, self._entries[key].version) for key in gone]
        return [owner for owner in owners if owner is not None]

    def get(self, key: ObjectKey) -> Manifest | None:
        """The trimmed object, a fresh copy."""
        entry = self._entries.get(key)
        return None if entry is None else _decode(entry)

    def owner_of(self, key: ObjectKey) -> ObjectKey | None:
        """The GemmaDeployment that an object is, belongs to, or complains about."""
        entry = self._entries.get(key)
        return None if entry is None else entry.owner

    def children(self, owner: ObjectKey) -> tuple[Manifest, ...]:
        """What is labelled as a GemmaDeployment's, and Warning events about it, in the order of the keys."""
        return tuple(_decode(self._entries[key]) for key in sorted(self._children.get(owner, ())))

    def keys(self, kind: str) -> list[ObjectKey]:
        """Keys of all objects of a kind."""
        return [key for key in self._entries if key.kind == kind]

    def all(self, kind: str) -> tuple[Manifest, ...]:
        """All objects of a kind, in the order of their keys; the same tuple as before while none changed."""
        changes, known = self._lists.get(kind, (-1, ()))
        if changes != self._changes[kind]:
            known = tuple(_decode(self._entries[key]) for key in sorted(self.keys(kind)))
            self._lists[kind] = (self._changes[kind], known)
        return known

    def _owner_of(self, manifest: Manifest) -> ObjectKey | None:
        """By label; an Event belongs where the object does that it is about."""
        if manifest["kind"] == KIND:
            return object_key(manifest)
        metadata = manifest["metadata"]
        if manifest["kind"] == "Event":
            about = manifest["involvedObject"]
            return self.owner_of(
                ObjectKey(
                    about.get("apiVersion", ""),
                    about.get("kind", ""),
                    about.get("namespace", ""),
                    about.get("name", ""),
                )
            )
        owner = (metadata.get("labels") or {}).get(OWNER_LABEL)
        return None if owner is None else ObjectKey(API_VERSION, KIND, metadata.get("namespace", ""), owner)


def _encode(manifest: Manifest) -> bytes:
    """Without the resource version, so that equal documents say that nothing of interest changed."""
    del manifest["metadata"]["resourceVersion"]
    return zlib.compress(json.dumps(manifest, separators=(",", ":")).encode(), _FASTEST)


def _decode(entry: _Entry) -> Manifest:
    manifest: Manifest = json.loads(zlib.decompress(entry.document))
    manifest["metadata"]["resourceVersion"] = str(entry.version)
    return manifest
