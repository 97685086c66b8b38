"""Whether a pod is scraped. Said on pods, not in their template: no model is loaded anew for it."""

from collections.abc import Iterable

from gemma_operator.api.manifest import SCRAPE_LABEL, Manifest
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, Scrape
from gemma_operator.resources.layout import ADMIN_PORT
from gemma_operator.resources.serving_pods import serving_pods

SCRAPE_ANNOTATION = "prometheus.io/scrape"
_NOT_SCRAPED = "none"


def scrape_annotations() -> dict[str, str]:
    """For a Prometheus that follows annotations; there always, so that no setting of the chart rolls pods."""
    return {
        SCRAPE_ANNOTATION: "true",
        "prometheus.io/port": str(ADMIN_PORT),
        "prometheus.io/path": "/metrics",
    }


def scrape_marks(spec: GemmaDeploymentSpec, children: Iterable[Manifest]) -> list[tuple[Manifest, Manifest]]:
    """Serving pods that say otherwise than the spec, each with the metadata to merge into it."""
    is_scraped = spec.monitoring.scrape is Scrape.AUTO
    metadata = {
        "labels": {SCRAPE_LABEL: None if is_scraped else _NOT_SCRAPED},
        "annotations": {SCRAPE_ANNOTATION: "true" if is_scraped else "false"},
    }
    return [(pod, metadata) for pod in serving_pods(children) if _is_scraped(pod) is not is_scraped]


def _is_scraped(pod: Manifest) -> bool:
    return (pod["metadata"].get("labels") or {}).get(SCRAPE_LABEL) != _NOT_SCRAPED
