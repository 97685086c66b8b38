"""Whether the cluster autoscaler may move a pod. Said on pods beside their template: no model loads anew."""

from collections.abc import Iterable

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.resources.serving_pods import serving_pods

EVICTION_ANNOTATION = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""Without it a pod with volumes on its node, as all of ours have, keeps the node for ever (the autoscaler's
`skip-nodes-with-local-storage`). The PodDisruptionBudget holds in any case."""


def eviction_annotation() -> dict[str, str]:
    """Of the template: what most pods say, so that it costs no write."""
    return {EVICTION_ANNOTATION: "true"}


def eviction_marks(
    spec: GemmaDeploymentSpec, children: Iterable[Manifest]
) -> list[tuple[Manifest, Manifest]]:
    """Serving pods that say otherwise than the spec, each with the metadata to merge into it."""
    wanted = "true" if spec.pod.safe_to_evict else "false"
    return [
        (pod, {"annotations": {EVICTION_ANNOTATION: wanted}})
        for pod in serving_pods(children)
        # One that says nothing is of a template before this one, and may serve on as it is.
        if (pod["metadata"].get("annotations") or {}).get(EVICTION_ANNOTATION, "true") != wanted
    ]
