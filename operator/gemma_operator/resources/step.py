"""What may be done now: serving waits for its weights, and nothing that serves is taken away meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gemma_operator.api.manifest import (
    CLAIM_ANNOTATION,
    ROLE_LABEL,
    SERVING,
    WEIGHTS_LABEL,
    Manifest,
    ObjectKey,
    Owner,
    is_of,
    is_shared,
    object_key,
    referring_uids,
)
from gemma_operator.resources.persistentvolumeclaim import as_agreed
from gemma_operator.resources.prune import to_leave, to_prune

_HELD_KINDS = frozenset({"ConfigMap", "NetworkPolicy", "Deployment"})
"""Of the serving role: what running pods read, need, or are made from."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step towards the desired objects."""

    apply: tuple[Manifest, ...]
    """To be applied now, in this order."""
    held: tuple[Manifest, ...]
    """To be applied once the weights are in their claim."""
    prune: tuple[ObjectKey, ...]
    """To be deleted now."""
    leave: tuple[ObjectKey, ...] = ()
    """To be given up now, and deleted by its last user."""


def next_step(
    owner: Owner,
    children: Sequence[Manifest],
    desired: Sequence[Manifest],
    keep: frozenset[ObjectKey] = frozenset(),
) -> Step:
    """Decide from what is there, pods included. Once a step is applied, the next one changes nothing.

    A weights Job that has succeeded for the same files and claim stands for the desired one, so that a new
    operator version does not fetch again, nor does whoever names another token; it stays, because deleting
    it would forget that they are there.
    """
    present = {object_key(child): child for child in children}
    desired = tuple(as_agreed(owner, manifest, present.get(object_key(manifest))) for manifest in desired)
    job = next((manifest for manifest in desired if manifest["kind"] == "Job"), None)
    if job is None:
        return _step(owner, children, desired, keep)
    done = [child for child in children if is_of(child, owner.uid) and _is_done_as(child, job)]
    proof = next((child for child in done if _ran_into(_claim_of(child, desired), child, present)), None)
    others = tuple(manifest for manifest in desired if manifest is not job)
    if proof is not None:
        joined = _joined(proof, job, owner)
        step = _step(owner, children, (*others, proof), keep)
        return replace(step, apply=(*others, *joined))
    stale = tuple(object_key(child) for child in done if object_key(child) == object_key(job))
    wanted = others if stale else desired
    held = tuple(manifest for manifest in wanted if _waits_for_weights(manifest)) if _serves(wanted) else ()
    step = _step(owner, _unfinished_jobs(children), desired, keep)
    now = tuple(manifest for manifest in wanted if manifest not in held)
    return replace(step, apply=now, held=held, prune=(*step.prune, *stale))


def _step(
    owner: Owner, children: Sequence[Manifest], desired: Sequence[Manifest], keep: frozenset[ObjectKey]
) -> Step:
    """Everything at once, and away with what is over among these children."""
    pruned = tuple(key for key in to_prune(owner, children, desired) if key not in keep)
    left = tuple(key for key in to_leave(owner, children, desired) if key not in keep)
    return Step(tuple(desired), (), pruned, left)


def _serves(desired: Sequence[Manifest]) -> bool:
    """Nothing has to wait for the sake of zero replicas: suspending takes effect at once."""
    return any(
        manifest["kind"] == "Deployment" and manifest["spec"].get("replicas", 1) for manifest in desired
    )


def _waits_for_weights(manifest: Manifest) -> bool:
    return manifest["kind"] in _HELD_KINDS and manifest["metadata"]["labels"][ROLE_LABEL] == SERVING


def _is_done_as(child: Manifest, job: Manifest) -> bool:
    """Whether the child is a Job that has fetched the same files into a claim of the same name."""
    return child["kind"] == "Job" and _is_complete(child) and _purpose(child) == _purpose(job)


def _claim_of(job: Manifest, desired: Sequence[Manifest]) -> ObjectKey | None:
    """The claim that the Job fills, where we make it: nobody tells us of others."""
    claims = (object_key(manifest) for manifest in desired if manifest["kind"] == "PersistentVolumeClaim")
    return next((claim for claim in claims if claim.name == _purpose(job)[1]), None)


def _ran_into(claim: ObjectKey | None, job: Manifest, present: Mapping[ObjectKey, Manifest]) -> bool:
    """Whether that claim is there and the Job is not from before it: one made anew is empty."""
    if claim is None:
        return True
    live = present.get(claim)
    return live is not None and "deletionTimestamp" not in live["metadata"] and _made(job) >= _made(live)


def _joined(proof: Manifest, job: Manifest, owner: Owner) -> tuple[Manifest, ...]:
    """What makes us one of the proof's users, where we are not."""
    if not is_shared(proof) or owner.uid in referring_uids(proof):
        return ()
    metadata = {**job["metadata"], "name": proof["metadata"]["name"]}
    return ({"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": metadata},)


def _made(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("creationTimestamp", ""))


def _is_complete(job: Manifest) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Complete" and condition["status"] == "True" for condition in conditions)


def _purpose(job: Manifest) -> tuple[str | None, str | None]:
    metadata = job["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return labels.get(WEIGHTS_LABEL), annotations.get(CLAIM_ANNOTATION)


def _unfinished_jobs(children: Sequence[Manifest]) -> list[Manifest]:
    """Jobs of earlier specs that still fetch: two writers on one claim would disturb each other."""
    return [child for child in children if child["kind"] == "Job" and not _is_complete(child)]
