"""What no longer belongs to a GemmaDeployment: what it controls is deleted, what it shares is given up."""

from collections.abc import Callable, Collection, Iterable

from gemma_operator.api.manifest import (
    ROLE_LABEL,
    WEIGHTS,
    Manifest,
    ObjectKey,
    Owner,
    is_controlled_by,
    is_shared,
    object_key,
    referring_uids,
)

_FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


def to_prune(owner: Owner, children: Collection[Manifest], desired: Iterable[Manifest]) -> list[ObjectKey]:
    """Objects to delete: our own, no longer desired, not on their way out already. Sorted.

    Whatever is not controlled by exactly this owner (by uid) is never named, nor is a claim that a pod among
    the children still mounts: a claim on its way out could not be mounted again if a rollout had to go back.
    """
    return _over(children, desired, lambda child: is_controlled_by(child, owner.uid))


def to_leave(owner: Owner, children: Collection[Manifest], desired: Iterable[Manifest]) -> list[ObjectKey]:
    """Objects to give up: claims and Jobs of weights that this owner (by uid) uses and no longer wants.

    The last user's going deletes them. Mounted claims stay, as above. Sorted.
    """
    return _over(children, desired, lambda child: is_shared(child) and owner.uid in referring_uids(child))


def _over(
    children: Collection[Manifest], desired: Iterable[Manifest], is_meant: Callable[[Manifest], bool]
) -> list[ObjectKey]:
    wanted = {object_key(manifest) for manifest in desired}
    mounted = _mounted_claims(children)
    return sorted(
        object_key(child)
        for child in children
        if is_meant(child)
        and object_key(child) not in wanted
        and not (child["kind"] == "PersistentVolumeClaim" and child["metadata"]["name"] in mounted)
        and "deletionTimestamp" not in child["metadata"]
    )


def _mounted_claims(children: Iterable[Manifest]) -> set[str]:
    """By pods that may have to come back; those of a Job go with it."""
    return {
        volume["persistentVolumeClaim"]["claimName"]
        for child in children
        if child["kind"] == "Pod"
        and (child["metadata"].get("labels") or {}).get(ROLE_LABEL) != WEIGHTS
        and (child.get("status") or {}).get("phase") not in _FINISHED_PHASES
        for volume in (child.get("spec") or {}).get("volumes") or ()
        if "persistentVolumeClaim" in volume
    }
