"""The PodDisruptionBudget of the serving pods."""

from gemma_operator.api.manifest import SERVING, Manifest, Owner, selector_labels, short_name
from gemma_operator.resources.layout import object_metadata


def pod_disruption_budget(owner: Owner) -> Manifest:
    """One pod at a time. Always allows an eviction: a budget of none blocks node drains for ever."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": object_metadata(owner, short_name(owner.name), SERVING),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector_labels(owner, SERVING)},
            # A pod that serves nobody must not hold up the drain of its node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
