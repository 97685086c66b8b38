"""The claim that keeps fetched weights across pods."""

from gemma_operator.api.manifest import WEIGHTS, Manifest, Owner, content_hash, short_name
from gemma_operator.api.quantity import GIB, format_bytes
from gemma_operator.api.v1alpha1 import CacheSpec
from gemma_operator.planning.plan import WeightsPlan
from gemma_operator.resources.layout import object_metadata

_SPARE_PARTS = 10
"""A tenth more than the files: partial files of a resumed fetch, file system overhead."""


def cache_claim_name(owner: Owner, cache: CacheSpec, weights: WeightsPlan) -> str:
    """The claim that the user names, or ours, whose name changes with everything that is immutable in it.

    A changed source so gets a new claim beside the one that running pods still read from.
    """
    if cache.claim_name is not None:
        return cache.claim_name
    return short_name(owner.name, "weights", content_hash([weights.key, _claim_spec(cache, weights)]))


def cache_claim(owner: Owner, cache: CacheSpec, weights: WeightsPlan) -> Manifest:
    """The operator's own claim; goes with the GemmaDeployment."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": object_metadata(owner, cache_claim_name(owner, cache, weights), WEIGHTS),
        "spec": _claim_spec(cache, weights),
    }


def _claim_spec(cache: CacheSpec, weights: WeightsPlan) -> Manifest:
    size = cache.size or format_bytes(_planned_bytes(weights.size_bytes))
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
