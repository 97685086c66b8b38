"""The claim that keeps fetched weights across pods."""

from gemma_operator.api.manifest import WEIGHTS, Manifest, Owner, content_hash, short_name
from gemma_operator.api.quantity import GIB, format_bytes
from gemma_operator.api.v1alpha1 import AccessMode, CacheSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.layout import object_metadata

_SPARE_PARTS = 10
"""A tenth more than the files: partial files of a resumed fetch, file system overhead."""


def cache_claim_name(owner: Owner, cache: CacheSpec, plan: Plan) -> str:
    """The claim that the user names, or ours, whose name changes with everything that is immutable in it.

    A changed source so gets a new claim beside the one that running pods still read from. So do changed
    adapters, unless several nodes may mount the claim: a Job elsewhere could not write to the one in use.
    """
    if cache.claim_name is not None:
        return cache.claim_name
    is_shared = cache.access_mode is AccessMode.READ_WRITE_MANY
    key = plan.weights.key if is_shared else plan.fetched_key
    return short_name(owner.name, "weights", content_hash([key, _claim_spec(cache, plan)]))


def cache_claim(owner: Owner, cache: CacheSpec, plan: Plan) -> Manifest:
    """The operator's own claim; goes with the GemmaDeployment."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": object_metadata(owner, cache_claim_name(owner, cache, plan), WEIGHTS),
        "spec": _claim_spec(cache, plan),
    }


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
