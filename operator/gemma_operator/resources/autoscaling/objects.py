"""The ScaledObject, or the HorizontalPodAutoscaler and what feeds it."""

from gemma_operator.api.manifest import SERVING, Manifest, Owner, short_name
from gemma_operator.api.v1alpha1 import ScalingSpec
from gemma_operator.resources.autoscaling.backend import Backend
from gemma_operator.resources.autoscaling.bounds import Bounds, reaches_zero
from gemma_operator.resources.autoscaling.signals import KV_USED, RUNNING, WAITING, Sources
from gemma_operator.resources.layout import ADMIN_PORT, object_metadata
from gemma_operator.settings import HpaMetrics, OperatorSettings, ScalingSettings

POLLING_SECONDS, POLLING_AT_ZERO_SECONDS = 15, 5
"""How often KEDA reads. While there are no pods somebody waits for the answer."""
FAILURES = 3
"""Reads in a row that fail before the fallback holds."""
FALLBACK = "currentReplicasIfHigher"
"""An outage of the metrics takes no pod away."""
GROW_PERCENT, GROW_PODS, GROW_SECONDS = 100, 4, 60
"""At most twice as many, or 4 more, in a minute."""
ENDPOINT_LABEL = "gemma-endpoint"
"""GKE's AutoscalingMetric selects pods by plain label names only."""


def autoscaling_objects(
    owner: Owner,
    scaling: ScalingSpec,
    sources: Sources,
    bounds: Bounds,
    place: tuple[Backend, ScalingSettings],
) -> tuple[Manifest, ...]:
    """What the backend needs. Bounds are those in force now."""
    backend, _ = place
    if backend.is_keda:
        return (_scaled_object(owner, scaling, sources, bounds, place),)
    scaler = _horizontal_pod_autoscaler(owner, sources, bounds, place)
    return (_autoscaling_metric(owner, sources), scaler) if backend is Backend.GKE else (scaler,)


def autoscaler_name(owner: Owner) -> str:
    """Name of the ScaledObject, or of the HPA. KEDA's own HPA has a name of its own."""
    return short_name(owner.name)


def endpoint_label(owner: Owner, settings: OperatorSettings) -> dict[str, str]:
    """What GKE's AutoscalingMetric selects pods by; not on pods elsewhere."""
    if settings.scaling.hpa_metrics is not HpaMetrics.GKE:
        return {}
    return {ENDPOINT_LABEL: short_name(owner.name)}


def _scaled_object(
    owner: Owner,
    scaling: ScalingSpec,
    sources: Sources,
    bounds: Bounds,
    place: tuple[Backend, ScalingSettings],
) -> Manifest:
    backend, settings = place
    read = _prometheus_trigger if backend is Backend.KEDA_PROMETHEUS else _front_door_trigger
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": object_metadata(owner, autoscaler_name(owner), SERVING),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": short_name(owner.name)},
            "minReplicaCount": bounds.least,
            "maxReplicaCount": bounds.most,
            "pollingInterval": POLLING_AT_ZERO_SECONDS if reaches_zero(scaling) else POLLING_SECONDS,
            "cooldownPeriod": scaling.idle_seconds,
            "fallback": {
                "failureThreshold": FAILURES,
                "replicas": max(1, bounds.least),
                "behavior": FALLBACK,
            },
            "advanced": {
                "horizontalPodAutoscalerConfig": {"behavior": _behavior(settings)},
                "scalingModifiers": {
                    "formula": sources.formula
                    if backend is Backend.KEDA_PROMETHEUS
                    else _door_formula(sources),
                    "target": "1",
                    "metricType": "AverageValue",
                },
            },
            "triggers": [
                read(owner, source.name, source.query, settings)
                for source in sources.sources
                if backend is Backend.KEDA_PROMETHEUS or source.name in ("running", "waiting")
            ],
        },
    }


def _door_formula(sources: Sources) -> str:
    """`running` is what the front door has open at pods, whether it runs or waits there; `waiting` is what it
    holds while there are none."""
    return (
        f"max(running / {sources.slots}, waiting / {sources.waiting_target:g}, running + waiting > 0 ? 1 : 0)"
    )


def _prometheus_trigger(owner: Owner, name: str, query: str, settings: ScalingSettings) -> Manifest:
    return {
        "type": "prometheus",
        "name": name,
        "metadata": {
            "serverAddress": str(settings.prometheus_url),
            "query": query,
            "threshold": "1",
            # KEDA takes an empty answer for 0 otherwise: a scrape that broke would end every pod.
            "ignoreNullValues": "false",
        },
        "metricType": "AverageValue",
    }


def _front_door_trigger(owner: Owner, name: str, query: str, settings: ScalingSettings) -> Manifest:
    return {
        "type": "metrics-api",
        "name": name,
        "metadata": {
            "url": f"{settings.front_door_url}/scaling/{owner.namespace}/{owner.name}",
            "valueLocation": name,
            "targetValue": "1",
            # Each of its replicas counts what goes through itself.
            "aggregateFromKubeServiceEndpoints": "true",
            "aggregationType": "sum",
        },
        "metricType": "AverageValue",
    }


def _behavior(settings: ScalingSettings) -> Manifest:
    """Up fast; down one at a time, once the load has stayed lower for longer than a cold start takes."""
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": settings.up_window_seconds,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": GROW_PERCENT, "periodSeconds": GROW_SECONDS},
                {"type": "Pods", "value": GROW_PODS, "periodSeconds": GROW_SECONDS},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": settings.down_window_seconds,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": settings.down_period_seconds}],
        },
    }


def _horizontal_pod_autoscaler(
    owner: Owner, sources: Sources, bounds: Bounds, place: tuple[Backend, ScalingSettings]
) -> Manifest:
    backend, settings = place
    name = autoscaler_name(owner)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": object_metadata(owner, name, SERVING),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": short_name(owner.name)},
            "minReplicas": max(1, bounds.least),
            "maxReplicas": bounds.most,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": metric_reference(owner, metric, backend)},
                        "target": {"type": "AverageValue", "averageValue": _quantity(target)},
                    },
                }
                for metric, target in hpa_targets(sources)
            ],
            "behavior": _behavior(settings),
        },
    }


def hpa_targets(sources: Sources) -> tuple[tuple[str, float], ...]:
    """Metric and average for each pod. Busy slots never exceed their target: they only hold replicas."""
    targets = [(RUNNING, float(sources.slots))]
    if sources.waiting_target is not None:
        targets.insert(0, (WAITING, sources.waiting_target))
    if sources.kv_cache_target is not None:
        targets.append((KV_USED, sources.kv_cache_target * sources.kv_cache_tokens))
    return tuple(targets)


def metric_reference(owner: Owner, metric: str, backend: Backend) -> str:
    """The metric's name as the adapter knows it."""
    match backend:
        case Backend.GKE:
            return f"autoscaling.gke.io|{autoscaler_name(owner)}|{_dashed(metric)}"
        case Backend.STACKDRIVER:
            return f"prometheus.googleapis.com|{metric}|gauge"
        case _:
            return metric


def _autoscaling_metric(owner: Owner, sources: Sources) -> Manifest:
    """GKE reads the pods' own pages. Format: the guide "Expose custom metrics for autoscaling", 2026-09."""
    gauges = [
        {"gauge": {"name": _dashed(metric), "prometheusMetricName": metric}}
        for metric, _ in hpa_targets(sources)
    ]
    return {
        "apiVersion": "autoscaling.gke.io/v1beta1",
        "kind": "AutoscalingMetric",
        "metadata": object_metadata(owner, autoscaler_name(owner), SERVING),
        "spec": {
            "metrics": [
                {
                    "pod": {
                        "selector": {"matchLabels": {ENDPOINT_LABEL: short_name(owner.name)}},
                        "containers": [
                            {"endpoint": {"port": ADMIN_PORT, "path": "/metrics"}, "metrics": gauges}
                        ],
                    }
                }
            ]
        },
    }


def _dashed(metric: str) -> str:
    """Names of an AutoscalingMetric are lower case and hyphens, up to 63."""
    return metric.replace("_", "-")


def _quantity(value: float) -> str:
    """As the API server writes it: `4`, `3500m`."""
    thousandths = round(value * 1000)
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"
