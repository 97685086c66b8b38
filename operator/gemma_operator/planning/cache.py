"""Whether the pods that a spec asks for can all mount the cache that it asks for."""

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import AccessMode, GemmaDeploymentSpec
from gemma_operator.planning.plan import Refusal


def unmountable_cache(spec: GemmaDeploymentSpec) -> Refusal | None:
    """The refusal of several replicas on a new claim that one node can mount.

    Of a claim that the user names nothing is known; all its pods may well be kept on one node.
    """
    cache, count = spec.cache, _most_replicas(spec)
    if cache is None or cache.claim_name is not None or count < 2:
        return None
    if cache.access_mode is not AccessMode.READ_WRITE_ONCE:
        return None
    return Refusal(
        Reason.CACHE_ON_ONE_NODE,
        f"{count} replicas may run on {count} nodes, and a ReadWriteOnce claim can be mounted by one: set "
        "cache.accessMode to ReadWriteMany (with a storage class that offers it), ask for one replica, or "
        "leave cache out, so that each pod fetches its own copy",
    )


def _most_replicas(spec: GemmaDeploymentSpec) -> int:
    if spec.scaling is None:
        return spec.replicas
    return max(spec.scaling.max_replicas, *(each.max_replicas for each in spec.scaling.schedules), 1)
