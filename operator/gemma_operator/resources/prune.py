"""What no longer belongs to a GemmaDeployment."""

from collections.abc import Collection, Iterable

from gemma_operator.api.manifest import Manifest, ObjectKey, Owner, is_controlled_by, object_key

_FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


def to_prune(owner: Owner, children: Collection[Manifest], desired: Iterable[Manifest]) -> list[ObjectKey]:
    """Objects to delete: our own, no longer desired, not on their way out already. Sorted.

    Whatever is not controlled by exactly this owner (by uid) is never named, nor is a claim that a pod among
    the children still mounts: a claim on its way out could not be mounted again if a rollout had to go back.
    """
    wanted = {object_key(manifest) for manifest in desired}
    mounted = _mounted_claims(children)
    return sorted(
        object_key(child)
        for child in children
        if is_controlled_by(child, owner.uid)
        and object_key(child) not in wanted
        and not (child["kind"] == "PersistentVolumeClaim" and child["metadata"]["name"] in mounted)
        and "deletionTimestamp" not in child["metadata"]
    )


def _mounted_claims(children: Iterable[Manifest]) -> set[str]:
    return {
        volume["persistentVolumeClaim"]["claimName"]
        for child in children
        if child["kind"] == "Pod" and (child.get("status") or {}).get("phase") not in _FINISHED_PHASES
        for volume in (child.get("spec") or {}).get("volumes") or ()
        if "persistentVolumeClaim" in volume
    }
