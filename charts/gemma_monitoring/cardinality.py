"""How many series there can be: the values of each label, and what bounds them."""

from collections.abc import Mapping
from dataclasses import dataclass

from gemma_monitoring.registry import OUTCOMES, Emitter, Kind, MetricSpec

REJECTION_REASONS = (
    "queue_full",
    "evicted",
    "deadline",
    "limit_store_down",
    "unauthorized",
    "requests_limit",
    "tokens_limit",
)
MOST_GATEWAY_SERIES = 300
"""Of one serving pod, Triton's page included."""
MOST_ENDPOINT_SERIES = 35
"""Of one GemmaDeployment on the operator's page."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a label can hold."""

    most: int
    """Values at one time, for one model where the emitter speaks about models."""
    values: str


_OF_ONE_MODEL = Bound(1, "the GemmaDeployment's name")
_PLANNED = Bound(1, "the plan in force")

GATEWAY_BOUNDS: Mapping[str, Bound] = {
    "model": _OF_ONE_MODEL,
    "outcome": Bound(len(OUTCOMES), ", ".join(OUTCOMES)),
    "reason": Bound(len(REJECTION_REASONS), ", ".join(REJECTION_REASONS)),
    "engine": Bound(1, "the pod's engine"),
    "version": Bound(1, "its version"),
    "precision": Bound(1, "the pod's precision"),
    "stage": Bound(2, "input, output"),
    "policy": Bound(6, "terms, guard, and ShieldGemma's four policies"),
    "decision": Bound(4, "allow, block, failed_open, failed_closed"),
    "scorer": Bound(4, "relevance, coherence, reference_overlap, safety; each installed plug-in adds one"),
}
"""Labels of the gateway's own metrics, beside the histograms' `le`."""

OPERATOR_BOUNDS: Mapping[str, Bound] = {
    "version": Bound(1, "the operator's version"),
    "outcome": Bound(7, "done, and the reasons of a failed reconcile (controller/failures.py)"),
    "verb": Bound(10, "Kubernetes' verbs, apply among them"),
    "resource": Bound(60, "plurals, with subresource, of the kinds in kube/kinds.py; discovery"),
    "code": Bound(20, "HTTP status; 0 for no answer"),
    "engine": Bound(3, "TensorRTLLM, VLLM, LlamaCpp"),
    "phase": Bound(4, "Scheduled, Pulled, Weights, Serving"),
}
"""Labels of the operator's metrics about itself: a page's constant part."""

ENDPOINT_BOUNDS: Mapping[str, Bound] = {
    "namespace": Bound(1, "the GemmaDeployment's namespace"),
    "model": _OF_ONE_MODEL,
    "variant": _PLANNED,
    "engine": _PLANNED,
    "accelerator": _PLANNED,
    "precision": _PLANNED,
    "type": Bound(7, "condition types"),
    "status": Bound(1, "one at a time for each type"),
    "reason": Bound(1, "one at a time for each type"),
    "term": Bound(4, "usable, weights, kv_cache, overhead"),
    "objective": Bound(3, "ttft_p95_seconds, tpot_p95_seconds, availability_ratio"),
    "state": Bound(2, "done, total"),
}
"""Labels of the operator's metrics about one GemmaDeployment. All of them end when it is deleted."""


FRONT_DOOR_BOUNDS: Mapping[str, Bound] = {
    "endpoint_namespace": Bound(1, "the GemmaDeployment's namespace"),
    "model": _OF_ONE_MODEL,
    "code": Bound(20, "HTTP status"),
}
"""Labels of the front door's metrics."""


def bounds_of(metric: MetricSpec) -> Mapping[str, Bound]:
    """The labels that a metric of ours may have."""
    if metric.emitter is Emitter.GATEWAY:
        return GATEWAY_BOUNDS
    if metric.emitter is Emitter.FRONT_DOOR:
        return FRONT_DOOR_BOUNDS
    return ENDPOINT_BOUNDS if "namespace" in metric.labels else OPERATOR_BOUNDS


def most_series(metric: MetricSpec, histogram_buckets: int = 0) -> int:
    """Series of one metric if every combination of labels occurred; of a histogram with its buckets."""
    bounds, product = bounds_of(metric), 1
    for label in metric.labels:
        product *= bounds[label].most
    # `_sum` and `_count` beside the buckets, of which `+Inf` is one.
    return product * (histogram_buckets + 2 if metric.kind is Kind.HISTOGRAM else 1)
