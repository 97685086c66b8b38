"""The operator's memory of the cluster: trimmed objects by key and by GemmaDeployment, newest version wins.

Objects are kept as compressed JSON: a Deployment is some 40 KiB as Python dictionaries and some 2 KiB so; a
reconcile reads a dozen of them, and decoding one takes some 50 µs.
"""

import json
import zlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import OWNER_LABEL, SHARED_LABEL, Manifest, ObjectKey, object_key
from gemma_operator.kube.kinds import Kind, kind_of, trimmed

_FASTEST = 1
"""zlib level: higher ones cost twice the time for a tenth of the space on these documents."""
_REMEMBERED_DELETIONS = 1024
"""Deletions kept to recognise an answer that was overtaken by one; such an answer is milliseconds late."""


@dataclass(slots=True)
class _Entry:
    version: int
    owner: ObjectKey | None
    """The GemmaDeployment; of what several may share, the claim."""
    document: bytes


class Index:
    """Objects by key, and the children of each GemmaDeployment.

    Both watches and answers to our own writes are put here, so that a reconcile reads what it wrote. A shared
    claim, and what fills it, are children of each GemmaDeployment that it refers to, or that follows it.
    """

    def __init__(self) -> None:
        self._entries: dict[ObjectKey, _Entry] = {}
        self._changes: Counter[str] = Counter()
        self._lists: dict[str, tuple[int, tuple[Manifest, ...]]] = {}
        self._children: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)
        self._users: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)
        """GemmaDeployments that a shared claim refers to."""
        self._used: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)
        """The same the other way round."""
        self._followed: dict[ObjectKey, frozenset[ObjectKey]] = {}
        """Shared claims that a GemmaDeployment wants, whether they refer to it or not."""
        self._followers: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)
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
            if known.owner == key:
                self._set_users(key, ())
        self._entries[key] = _Entry(version, owner, document)
        if owner is not None and owner != key:
            self._children[owner].add(key)
        elif owner == key and key.kind != KIND:
            self._set_users(key, _users_of(manifest))
        if known is not None and known.document == document:
            return False
        self._changes[key.kind] += 1
        return True

    def discard(self, key: ObjectKey, version: int) -> tuple[ObjectKey, ...]:
        """Forget an object deleted at `version`; returns the GemmaDeployments that it concerned."""
        self._deleted[key] = max(version, self._deleted.get(key, 0))
        self._deleted.move_to_end(key)
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        entry = self._entries.get(key)
        if entry is None or entry.version > version:
            return ()
        concerned = self.concerned(key)
        del self._entries[key]
        self._changes[key.kind] += 1
        if key.kind == KIND:
            self.follow(key, ())
        elif entry.owner == key:
            self._set_users(key, ())
        elif entry.owner is not None:
            _remove(self._children, entry.owner, key)
        return concerned

    def retain(
        self, kind: Kind, namespace: str | None, present: set[ObjectKey], version: int
    ) -> list[ObjectKey]:
        """Forget what a fresh list of a kind no longer names; returns the GemmaDeployments concerned.

        An object written after the list was taken (newer than `version`) stays.
        """
        missing = [
            key
            for key, entry in self._entries.items()
            if (key.api_version, key.kind) == (kind.api_version, kind.name)
            and (namespace is None or key.namespace == namespace)
            and key not in present
            and entry.version <= version
        ]
        return [owner for key in missing for owner in self.discard(key, version)]

    def serves(self, kind: str, *, told: bool | None = None) -> bool:
        """Whether the API server has an optional kind; `told`: what has just been found out."""
        if told is not None:
            (self._served.add if told else self._served.discard)(kind)
        return kind in self._served

    def drop(self, kind: str, namespace: str | None) -> list[ObjectKey]:
        """Forget all objects of a kind that is no longer served; returns the GemmaDeployments concerned."""
        gone = [key for key in self.keys(kind) if namespace is None or key.namespace == namespace]
        return [owner for key in gone for owner in self.discard(key, self._entries[key].version)]

    def get(self, key: ObjectKey) -> Manifest | None:
        """The trimmed object, a fresh copy."""
        entry = self._entries.get(key)
        return None if entry is None else _decode(entry)

    def concerned(self, key: ObjectKey) -> tuple[ObjectKey, ...]:
        """The GemmaDeployments that an object is, belongs to, is used by, or complains about. Sorted."""
        entry = self._entries.get(key)
        if entry is None or entry.owner is None:
            return ()
        if entry.owner.kind == KIND:
            return (entry.owner,)
        return tuple(sorted(self._users.get(entry.owner, set()) | self._followers.get(entry.owner, set())))

    def follow(self, owner: ObjectKey, claims: Collection[ObjectKey]) -> None:
        """Count these shared claims among a GemmaDeployment's children, whether they refer to it or not."""
        before = self._followed.pop(owner, frozenset())
        for claim in before.difference(claims):
            _remove(self._followers, claim, owner)
        for claim in claims:
            self._followers[claim].add(owner)
        if claims:
            self._followed[owner] = frozenset(claims)

    def children(self, owner: ObjectKey) -> tuple[Manifest, ...]:
        """What is a GemmaDeployment's by label or use, and Warnings about that, in the order of the keys."""
        keys = set(self._children.get(owner, ()))
        for claim in self._used.get(owner, set()) | self._followed.get(owner, frozenset()):
            keys |= self._children.get(claim, set())
            if claim in self._entries:
                keys.add(claim)
        return tuple(_decode(self._entries[key]) for key in sorted(keys))

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

    def _set_users(self, claim: ObjectKey, users: Iterable[ObjectKey]) -> None:
        for user in self._users.pop(claim, set()):
            _remove(self._used, user, claim)
        for user in users:
            self._users[claim].add(user)
            self._used[user].add(claim)

    def _owner_of(self, manifest: Manifest) -> ObjectKey | None:
        """By label; an Event belongs where the object does that it is about."""
        if manifest["kind"] == KIND:
            return object_key(manifest)
        metadata = manifest["metadata"]
        if manifest["kind"] == "Event":
            about = manifest.get("involvedObject") or manifest["regarding"]
            entry = self._entries.get(
                ObjectKey(*(about.get(part, "") for part in ("apiVersion", "kind", "namespace", "name")))
            )
            return None if entry is None else entry.owner
        labels, namespace = metadata.get("labels") or {}, metadata.get("namespace", "")
        if SHARED_LABEL in labels:
            return ObjectKey("v1", "PersistentVolumeClaim", namespace, labels[SHARED_LABEL])
        owner = labels.get(OWNER_LABEL)
        return None if owner is None else ObjectKey(API_VERSION, KIND, namespace, owner)


def _users_of(claim: Manifest) -> list[ObjectKey]:
    namespace = claim["metadata"].get("namespace", "")
    return [
        ObjectKey(API_VERSION, KIND, namespace, reference["name"])
        for reference in claim["metadata"].get("ownerReferences") or ()
        if reference["kind"] == KIND
    ]


def _remove(sets: dict[ObjectKey, set[ObjectKey]], key: ObjectKey, member: ObjectKey) -> None:
    """From one of the sets, which goes when it is empty."""
    members = sets.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del sets[key]


def _encode(manifest: Manifest) -> bytes:
    """Without the resource version, so that equal documents say that nothing of interest changed."""
    del manifest["metadata"]["resourceVersion"]
    return zlib.compress(json.dumps(manifest, separators=(",", ":")).encode(), _FASTEST)


def _decode(entry: _Entry) -> Manifest:
    manifest: Manifest = json.loads(zlib.decompress(entry.document))
    manifest["metadata"]["resourceVersion"] = str(entry.version)
    return manifest
