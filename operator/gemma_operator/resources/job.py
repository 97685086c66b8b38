"""The Job that fetches weights into a claim."""

from gemma_operator.api.manifest import (
    CLAIM_ANNOTATION,
    WEIGHTS,
    WEIGHTS_LABEL,
    Manifest,
    Owner,
    content_hash,
    labels_for,
    shared_labels,
    short_name,
)
from gemma_operator.api.v1alpha1 import CacheSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.containers import claim_volume, empty_volume, pod_basics, scheduling
from gemma_operator.resources.egress import bundle_volumes
from gemma_operator.resources.fetch import (
    GATEWAY_TEMPORARY_VOLUME,
    WEIGHTS_VOLUME,
    fetch_containers,
)
from gemma_operator.resources.layout import object_metadata
from gemma_operator.resources.persistentvolumeclaim import (
    SHARED_PREFIX,
    cache_claim_name,
    is_shared_cache,
    users_metadata,
)
from gemma_operator.resources.pod import GATEWAY_TEMPORARY_BYTES
from gemma_operator.settings import OperatorSettings

RETRIES = 1000
"""The kubelet restarts the container at most every 5 min, where it resumes: three days of a broken hub, or of
a token nobody corrects. A corrected Secret is read at the next restart, without an edit of anything."""


def weights_job(owner: Owner, cache: CacheSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    """`NAME-weights-HASH`: a Job's template is immutable, so whatever changes it changes the name.

    For a shared claim it is the same for all who want the same: no account of one of them, and no name.
    """
    claim_name = cache_claim_name(owner, cache, plan)
    shared = is_shared_cache(cache)
    pod = _pod(None if shared else short_name(owner.name), claim_name, plan, settings)
    name = short_name(SHARED_PREFIX if shared else owner.name, WEIGHTS, content_hash(pod))
    if cache.claim_name is None:
        metadata = users_metadata(owner, cache, plan, name)
    else:
        metadata = object_metadata(owner, name, WEIGHTS)
    metadata["labels"] = {**metadata["labels"], WEIGHTS_LABEL: plan.fetched_key}
    metadata["annotations"] = {CLAIM_ANNOTATION: claim_name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": RETRIES,
            # Never two writers on the volume: a lost pod is replaced when it is known to be gone.
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": shared_labels(claim_name) if shared else labels_for(owner, WEIGHTS)},
                "spec": pod,
            },
        },
    }


def _pod(account: str | None, claim_name: str, plan: Plan, settings: OperatorSettings) -> Manifest:
    *adapters, model = fetch_containers(plan, settings)
    return {
        **pod_basics(account, settings),
        "restartPolicy": "OnFailure",
        **({"initContainers": adapters} if adapters else {}),
        "containers": [model],
        "volumes": [
            claim_volume(WEIGHTS_VOLUME, claim_name, read_only=False),
            empty_volume(GATEWAY_TEMPORARY_VOLUME, GATEWAY_TEMPORARY_BYTES),
            *bundle_volumes(settings),
        ],
        **scheduling(settings),
    }
