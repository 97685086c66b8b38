"""Which of a GemmaDeployment's pods serve, and stay."""

from collections.abc import Iterable

from gemma_operator.api.manifest import ROLE_LABEL, SERVING, Manifest


def serving_pods(children: Iterable[Manifest]) -> list[Manifest]:
    """Serving pods that are not on their way out."""
    return [
        child
        for child in children
        if child["kind"] == "Pod"
        and (child["metadata"].get("labels") or {}).get(ROLE_LABEL) == SERVING
        and "deletionTimestamp" not in child["metadata"]
    ]
