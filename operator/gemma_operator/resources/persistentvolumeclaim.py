"""The claim that keeps fetched weights across pods: one for all who want the same, if nodes can share it."""

from collections.abc import Iterable

from gemma_operator.api.manifest import (
    RETAINER_PREFIX,
    ROLE_LABEL,
    SHARED_LABEL,
    WEIGHTS,
    Manifest,
    ObjectKey,
    Owner,
    content_hash,
    labels_for,
    object_key,
    selector_labels,
    shared_labels,
    short_name,
)
from gemma_operator.api.quantity import GIB, format_bytes
from gemma_operator.api.v1alpha1 import AccessMode, CacheSpec, Retention
from gemma_operator.planning.origin import FetchedOrigin
from gemma_operator.planning.plan import Plan

SHARED_PREFIX = "gemma"
"""Of the names of what belongs to nobody in particular."""
_SPARE_PARTS = 10
"""A tenth more than the files: partial files of a resumed fetch, file system overhead."""


def is_shared_cache(cache: CacheSpec) -> bool:
    """Whether the claim serves every GemmaDeployment that asks for the same.

    Only one that several nodes may mount: the pods of two endpoints need not find place on one node.
    """
    return cache.claim_name is None and cache.access_mode is AccessMode.READ_WRITE_MANY


def cache_claim_name(owner: Owner, cache: CacheSpec, plan: Plan) -> str:
    """The claim that the user names, or ours, whose name changes with everything that is immutable in it.

    A changed source so gets a new claim beside the one that running pods still read from. So do changed
    adapters, unless several nodes may mount the claim: a Job elsewhere could not write to the one in use.
    A shared claim is named by what is in it alone, a server that a user names included.
    """
    if cache.claim_name is not None:
        return cache.claim_name
    claim = _claim_spec(cache, plan)
    if not is_shared_cache(cache):
        return short_name(owner.name, WEIGHTS, content_hash([plan.fetched_key, claim]))
    origin = plan.weights.origin
    server = origin.endpoint if isinstance(origin, FetchedOrigin) else None
    return short_name(SHARED_PREFIX, WEIGHTS, content_hash([plan.weights.key, server, claim]))


def cache_claim(owner: Owner, cache: CacheSpec, plan: Plan) -> Manifest:
    """The operator's own claim. It goes with its last user, unless it is to stay."""
    metadata = users_metadata(owner, cache, plan, cache_claim_name(owner, cache, plan))
    if cache.retention is Retention.RETAIN:
        metadata |= {"annotations": {_retainer(owner): owner.name}, "ownerReferences": []}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": _claim_spec(cache, plan),
    }


def as_agreed(owner: Owner, manifest: Manifest, live: Manifest | None) -> Manifest:
    """The manifest as its users agree on it: a claim that one of them retains is retained for all.

    Nobody refers to it then, because the garbage collector would delete it with whoever does. An owner that
    retained it and does so no more takes that back; one that was deleted meanwhile never does.
    """
    if live is None or manifest["kind"] != "PersistentVolumeClaim":
        return manifest
    mine, metadata = _retainer(owner), manifest["metadata"]
    said = {name for name in live["metadata"].get("annotations") or {} if name.startswith(RETAINER_PREFIX)}
    annotations = dict(metadata.get("annotations") or {})
    if mine in said and mine not in annotations:
        annotations[mine] = None
    if said - {mine}:
        metadata = {**metadata, "ownerReferences": []}
    return {**manifest, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}


def _retainer(owner: Owner) -> str:
    return f"{RETAINER_PREFIX}{owner.uid}"


def users_metadata(owner: Owner, cache: CacheSpec, plan: Plan, name: str) -> Manifest:
    """Metadata of our claim and its Job: one more user, whoever made the object."""
    shared = is_shared_cache(cache)
    labels = shared_labels(cache_claim_name(owner, cache, plan)) if shared else labels_for(owner, WEIGHTS)
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels,
        "ownerReferences": [owner.user_reference()],
    }


def fetching_pods(owner: Owner, cache: CacheSpec, plan: Plan) -> dict[str, str]:
    """Labels that select the pods which fetch into the claim, whoever made their Job."""
    if not is_shared_cache(cache):
        return selector_labels(owner, WEIGHTS)
    labels = shared_labels(cache_claim_name(owner, cache, plan))
    return {name: labels[name] for name in (SHARED_LABEL, ROLE_LABEL)}


def shared_claims(manifests: Iterable[Manifest]) -> frozenset[ObjectKey]:
    """Those among the manifests that serve several GemmaDeployments."""
    return frozenset(
        object_key(manifest)
        for manifest in manifests
        if manifest["kind"] == "PersistentVolumeClaim" and SHARED_LABEL in manifest["metadata"]["labels"]
    )


def _claim_spec(cache: CacheSpec, plan: Plan) -> Manifest:
    size = cache.size or format_bytes(_planned_bytes(sum(weights.size_bytes for weights in plan.fetched)))
    spec: Manifest = {
        "accessModes": [cache.access_mode.value],
        "resources": {"requests": {"storage": size}},
    }
    if cache.storage_class_name is not None:
        spec["storageClassName"] = cache.storage_class_name
    return spec


def _planned_bytes(size_bytes: int) -> int:
    """Whole GiB above the files and their spare part; provisioners bill and round that way."""
    needed = size_bytes + size_bytes // _SPARE_PARTS
    return (needed // GIB + 1) * GIB
