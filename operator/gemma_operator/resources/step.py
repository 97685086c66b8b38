"""What may be done now: serving waits for its weights, and nothing that serves is taken away meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass

from gemma_operator.api.manifest import (
    CLAIM_ANNOTATION,
    ROLE_LABEL,
    SERVING,
    WEIGHTS_LABEL,
    Manifest,
    ObjectKey,
    Owner,
    is_controlled_by,
)
from gemma_operator.resources.prune import to_prune

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


def next_step(
    owner: Owner,
    children: Sequence[Manifest],
    desired: Sequence[Manifest],
    keep: frozenset[ObjectKey] = frozenset(),
) -> Step:
    """Decide from what is there, pods included. Once a step is applied, the next one changes nothing.

    A weights Job that has succeeded for the same files and claim stands for the desired one, so that a new
    operator version does not fetch again; it stays, because deleting it would forget that they are there.
    """
    job = next((manifest for manifest in desired if manifest["kind"] == "Job"), None)
    if job is None:
        return Step(tuple(desired), (), _pruned(owner, children, desired, keep))
    proof = next(
        (child for child in children if is_controlled_by(child, owner.uid) and _proves(child, job)), None
    )
    if proof is not None:
        others = tuple(manifest for manifest in desired if manifest is not job)
        return Step(others, (), _pruned(owner, children, (*others, proof), keep))
    held = tuple(manifest for manifest in desired if _waits_for_weights(manifest)) if _serves(desired) else ()
    now = tuple(manifest for manifest in desired if manifest not in held)
    return Step(now, held, _pruned(owner, _unfinished_jobs(children), desired, keep))


def _pruned(
    owner: Owner, children: Sequence[Manifest], desired: Sequence[Manifest], keep: frozenset[ObjectKey]
) -> tuple[ObjectKey, ...]:
    return tuple(key for key in to_prune(owner, children, desired) if key not in keep)


def _serves(desired: Sequence[Manifest]) -> bool:
    """Nothing has to wait for the sake of zero replicas: suspending takes effect at once."""
    return any(
        manifest["kind"] == "Deployment" and manifest["spec"].get("replicas", 1) for manifest in desired
    )


def _waits_for_weights(manifest: Manifest) -> bool:
    return manifest["kind"] in _HELD_KINDS and manifest["metadata"]["labels"][ROLE_LABEL] == SERVING


def _proves(child: Manifest, job: Manifest) -> bool:
    """Whether the child is a Job that has fetched the same files into the same claim."""
    return child["kind"] == "Job" and _is_complete(child) and _purpose(child) == _purpose(job)


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
