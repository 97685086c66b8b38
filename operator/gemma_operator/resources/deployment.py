"""The Deployment of the serving pods."""

from math import ceil

from gemma_operator.api.manifest import (
    CONFIG_HASH_ANNOTATION,
    SERVING,
    TEMPLATE_HASH_ANNOTATION,
    Manifest,
    Owner,
    content_hash,
    labels_for,
    selector_labels,
    short_name,
)
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, Strategy
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.autoscaling.objects import endpoint_label
from gemma_operator.resources.configmap import config_hash
from gemma_operator.resources.eviction import eviction_annotation
from gemma_operator.resources.layout import object_metadata
from gemma_operator.resources.pod import serving_pod
from gemma_operator.resources.probes import startup_budget_seconds
from gemma_operator.resources.rollout import IN_PLACE, SURGE
from gemma_operator.resources.scrape import scrape_annotations
from gemma_operator.settings import OperatorSettings

SCHEDULING_SECONDS = 600
"""Time for a node to be added and images of several GB to be pulled, on top of the startup budget."""
SLOWEST_FETCH_BYTES_PER_SECOND = 10 * 10**6
"""Pods that fetch their own weights may do so over a slow link before the rollout counts as stuck."""
DEADLINE_MARGIN = 60
"""Seconds that the shortest deadline leaves for scheduling and pulling, beyond the startup budget."""
REVISION_HISTORY = 3


def deployment(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    """`NAME`, with the pace of a first rollout; `resources/rollout.py` sets that of later ones."""
    template = _template(owner, spec, plan, settings)
    metadata = object_metadata(owner, short_name(owner.name), SERVING)
    metadata["annotations"] = {TEMPLATE_HASH_ANNOTATION: content_hash(template)}
    pace = IN_PLACE if spec.rollout.strategy is Strategy.RECREATE else SURGE
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            **({} if is_autoscaled(spec) else {"replicas": desired_replicas(spec)}),
            "revisionHistoryLimit": REVISION_HISTORY,
            "progressDeadlineSeconds": progress_deadline_seconds(spec, plan),
            "strategy": pace.manifest(),
            "selector": {"matchLabels": selector_labels(owner, SERVING)},
            "template": template,
        },
    }


def _template(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    return {
        "metadata": {
            "labels": {**labels_for(owner, SERVING), **endpoint_label(owner, settings)},
            "annotations": {
                CONFIG_HASH_ANNOTATION: config_hash(owner, spec, plan, settings),
                "kubectl.kubernetes.io/default-container": "gateway",
                **scrape_annotations(),
                **eviction_annotation(),
            },
        },
        "spec": serving_pod(owner, spec, plan, settings),
    }


def is_autoscaled(spec: GemmaDeploymentSpec) -> bool:
    """Whether `replicas` of the Deployment belongs to an autoscaler: it is never written then."""
    return spec.scaling is not None and not spec.suspend


def desired_replicas(spec: GemmaDeploymentSpec) -> int:
    """Pods that should exist; under an autoscaler, that may."""
    if spec.suspend:
        return 0
    if spec.scaling is None:
        return spec.replicas
    return max(spec.scaling.max_replicas, *(each.max_replicas for each in spec.scaling.schedules), 1)


def progress_deadline_seconds(spec: GemmaDeploymentSpec, plan: Plan) -> int:
    """When a rollout without progress counts as failed; always above the startup budget."""
    if spec.rollout.progress_deadline_seconds is not None:
        return max(spec.rollout.progress_deadline_seconds, startup_budget_seconds(plan) + DEADLINE_MARGIN)
    fetch_seconds = 0
    if spec.cache is None:
        fetched = sum(weights.size_bytes for weights in plan.fetched)
        fetch_seconds = ceil(fetched / SLOWEST_FETCH_BYTES_PER_SECOND)
    return startup_budget_seconds(plan) + SCHEDULING_SECONDS + fetch_seconds
