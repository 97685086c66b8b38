"""Whether a child is as it should be. Pure: the operator's only reason to write one.

A child carries the hash of the manifest that it was made from, which tells of changes of ours, removals
included. Changes by others are found by comparing values: everything the manifest says must be so in the
live object. What the manifest does not say (defaults, labels that users add) is not looked at.

Of what several users share only metadata is compared: the rest cannot be changed, is what the name says, and
may be of an older operator, whose users would put it back.
"""

from typing import Any

from gemma_operator.api.base import GROUP
from gemma_operator.api.manifest import Manifest, content_hash, is_shared
from gemma_operator.api.quantity import parse_millicores

APPLIED_HASH_ANNOTATION = f"{GROUP}/applied-hash"
"""Hash of the manifest that an object was made from."""

_ATOMIC_MAPS = frozenset({"selector", "nodeSelector", "podSelector", "namespaceSelector"})
"""Maps that are one value (map-type atomic): one more label in a selector selects something else."""
_QUANTITY_MAPS = frozenset({"limits", "requests"})
_QUANTITY = "sizeLimit"
_LIST_KEYS = ("uid", "name", "containerPort", "port", "mountPath", "key", "topologyKey")
"""What tells the items of a keyed list apart (x-kubernetes-list-map-keys of the kinds that we make)."""


def stamped(manifest: Manifest) -> Manifest:
    """The manifest with its own hash on it; what is shared has none, since its users' manifests differ."""
    if is_shared(manifest):
        return manifest
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_HASH_ANNOTATION: content_hash(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def is_outdated(wanted: Manifest, observed: Manifest | None) -> bool:
    """Whether a stamped manifest must be applied. An object on its way out is left alone until it is gone."""
    if observed is None:
        return True
    if "deletionTimestamp" in observed["metadata"]:
        return False
    if is_shared(wanted):
        return not holds(wanted["metadata"], observed["metadata"])
    return not holds(wanted, observed)


def holds(wanted: Any, live: Any) -> bool:
    """Whether everything that is wanted is so. To the API server an empty value is an absent one."""
    if isinstance(wanted, dict):
        live = live if isinstance(live, dict) else {}
        return all(_field_holds(name, value, live.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        live = live if isinstance(live, list) else []
        return _list_holds(wanted, live)
    return wanted == live or (not wanted and not live)


def _field_holds(name: str, wanted: Any, live: Any) -> bool:
    if name in _ATOMIC_MAPS:
        return bool(wanted == (live or {}))
    if name in _QUANTITY_MAPS and isinstance(live, dict):
        return all(quantity in live and _same(wanted[quantity], live[quantity]) for quantity in wanted)
    if name == _QUANTITY and live is not None:
        return _same(wanted, live)
    return holds(wanted, live)


def _same(wanted: str | int, live: str | int) -> bool:
    """The API server rewrites quantities: `1024Mi` to `1Gi`, `0.5` to `500m`."""
    return parse_millicores(wanted) == parse_millicores(live)


def _list_holds(wanted: list[Any], live: list[Any]) -> bool:
    """Items of a keyed list are found by key and may have others beside them; other lists are values."""
    key = _key_of(wanted)
    if key is None:
        return len(wanted) == len(live) and all(map(holds, wanted, live))
    by_key = {item.get(key): item for item in live if isinstance(item, dict)}
    return all(item[key] in by_key and holds(item, by_key[item[key]]) for item in wanted)


def _key_of(items: list[Any]) -> str | None:
    """The first key that all items have, each its own value."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    for key in _LIST_KEYS:
        values = [item.get(key) for item in items]
        if None not in values and len(set(map(str, values))) == len(values):
            return key
    return None
