"""Objects without a controller: claims and Jobs of weights, which belong to all who use them.

Each user is one owner reference, so that the garbage collector deletes the object with the last one, also
while no operator runs. References are added and taken away one by one (strategic merge patch, which knows
`ownerReferences` as a map by uid), never as a list: two reconciles beside each other lose nobody's. What the
object says beside its metadata cannot be changed, and its name says what that is.
"""

from gemma_operator.api.base import KIND
from gemma_operator.api.manifest import (
    MANAGER,
    Manifest,
    ObjectKey,
    is_kept_for_weights,
    referring_uids,
)
from gemma_operator.kube.apiserver import STRATEGIC_MERGE_PATCH, ApiServer, Request
from gemma_operator.kube.errors import NotFoundError
from gemma_operator.kube.index import Index
from gemma_operator.kube.kinds import KINDS, kind_of

_UPDATE = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
_SAID = ("labels", "annotations")


def may_join(manifest: Manifest, observed: Manifest) -> bool:
    """Whether an object of that name is one that operators share, or ours already, label or not."""
    return is_kept_for_weights(observed) or bool(referring_uids(manifest) & referring_uids(observed))


async def join(api: ApiServer, index: Index, manifest: Manifest, observed: Manifest) -> None:
    """Become a user of the object, and have its metadata say what it should. Raises ClusterError.

    A manifest that names no user takes all references away.
    """
    wanted = manifest["metadata"]
    metadata = {name: wanted[name] for name in _SAID if name in wanted}
    references = wanted.get("ownerReferences") or [
        {"$patch": "delete", "uid": uid} for uid in sorted(referring_uids(observed))
    ]
    body = {"metadata": {**metadata, "uid": observed["metadata"]["uid"], "ownerReferences": references}}
    path = kind_of(manifest).path(wanted["namespace"], wanted["name"])
    index.put(await api.send(Request("PATCH", path, _UPDATE, body, STRATEGIC_MERGE_PATCH)))


async def leave(api: ApiServer, index: Index, key: ObjectKey, uid: str) -> None:
    """Stop being a user of the object; the last one deletes it. Raises ClusterError.

    Only in the version that was looked at: somebody may have become a user this moment.
    """
    live = index.get(key)
    if live is None or uid not in referring_uids(live):
        return
    metadata, path = live["metadata"], KINDS[key.api_version, key.kind].path(key.namespace, key.name)
    seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    try:
        if _others(index, live, uid):
            body = {"metadata": {**seen, "ownerReferences": [{"$patch": "delete", "uid": uid}]}}
            index.put(await api.send(Request("PATCH", path, _UPDATE, body, STRATEGIC_MERGE_PATCH)))
        else:
            options = {"propagationPolicy": "Background", "preconditions": seen}
            await api.send(Request("DELETE", path, None, options))
    except NotFoundError:
        return


def _others(index: Index, live: Manifest, uid: str) -> bool:
    """Whether anybody else uses the object; a GemmaDeployment that is gone may have left its reference."""
    for reference in live["metadata"]["ownerReferences"]:
        user = ObjectKey(
            reference["apiVersion"], reference["kind"], live["metadata"]["namespace"], reference["name"]
        )
        known = index.get(user) if user.kind == KIND else None
        is_there = user.kind != KIND or (known is not None and known["metadata"]["uid"] == reference["uid"])
        if reference["uid"] != uid and is_there:
            return True
    return False
