"""What the operator's metrics page says of each GemmaDeployment: 25 to 30 series, gone when the resource is.

The lines of an endpoint are written when it is reconciled and kept as text, so that a scrape joins strings:
building 25,000 sample objects for a thousand endpoints would block the event loop at each scrape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, Histogram

from gemma_operator.api.manifest import ObjectKey, Owner
from gemma_operator.api.reasons import ConditionType, Reason
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec, Objectives, StartupPhaseName
from gemma_operator.planning.plan import Plan
from gemma_operator.status.conditions import Status
from gemma_operator.status.observed import Observed, PodState

STARTUP_BOUNDS = (10, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1800, 3600, 7200)
"""Seconds: from a 270M on the CPU to the longest startup budget."""
PHASE_BOUNDS = (1, 2, 5, *STARTUP_BOUNDS)
"""Seconds: where a node and images are there, their phases take next to nothing."""

FAMILIES: Mapping[str, str] = {
    "gemma_deployment_info": "1 for the plan in force.",
    "gemma_deployment_condition": "1 for each condition as it is now.",
    "gemma_deployment_replicas_desired": "Pods there should be; 0 when suspended or scaled to zero.",
    "gemma_deployment_replicas_ready": "Pods that take requests.",
    "gemma_deployment_replicas_minimum": "minReplicas of spec.scaling.",
    "gemma_deployment_replicas_maximum": "maxReplicas of spec.scaling.",
    "gemma_deployment_loading_seconds": "Age of the oldest pod that was never ready; absent without one.",
    "gemma_deployment_startup_last_seconds": "Pod created to ready, of the pod that became ready last.",
    "gemma_deployment_startup_predicted_seconds": "The plan's prediction of the same.",
    "gemma_deployment_memory_planned_bytes": "Plan per accelerator, by term.",
    "gemma_deployment_accelerators": "Accelerators requested: per replica times desired.",
    "gemma_deployment_hourly_cost": "Of all desired replicas, in the price file's currency.",
    "gemma_deployment_objective": "Target of spec.monitoring.objectives.",
    "gemma_deployment_template_drift": "1 when this operator would render other pods than those that run.",
    "gemma_deployment_weights_bytes": "Bytes of the weights: done, total.",
}
"""All gauges. charts/gemma_monitoring/registry.py lists their labels; a test holds one against the other."""

LOADING = "gemma_deployment_loading_seconds"
"""The one family that grows between two reconciles."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a reconcile found and said."""

    owner: Owner
    spec: GemmaDeploymentSpec | None
    plan: Plan | None
    """None when the spec was refused."""
    observed: Observed
    status: Status
    look_again_seconds: float | None = None
    """When time alone may change what is to be done."""


@dataclass(slots=True)
class _Endpoint:
    labels: str
    lines: dict[str, str] = field(default_factory=dict)
    plan: Plan | None = None
    """The last accepted one: a refused edit leaves its pods running."""
    loading_since: float | None = None
    waiting: set[str] = field(default_factory=set)
    """Pods seen before they were ready."""
    started: dict[str, float] = field(default_factory=dict)
    """Ready pods that exist, and how long each took: readiness lost later does not count again."""
    last_start_seconds: float | None = None


class EndpointMetrics:
    """The endpoints' part of the metrics page."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._endpoints: dict[ObjectKey, _Endpoint] = {}
        self._startups = Histogram(
            "gemma_operator_startup_seconds",
            "Pod created to ready, over all endpoints.",
            ["engine"],
            registry=registry,
            buckets=STARTUP_BOUNDS,
        )
        self._phases = Histogram(
            "gemma_operator_startup_phase_seconds",
            "One phase of a start, over all endpoints.",
            ["engine", "phase"],
            registry=registry,
            buckets=PHASE_BOUNDS,
        )
        # There from the start: a rate does not see the first event of a series that appears with it.
        for engine in EngineName:
            if engine is not EngineName.AUTO:
                self._startups.labels(engine.value)
                for phase in StartupPhaseName:
                    self._phases.labels(engine.value, phase.value)

    def show(self, key: ObjectKey, picture: Picture) -> None:
        """Say this of the endpoint from now on."""
        labels = _labels(namespace=key.namespace, model=key.name)
        endpoint = self._endpoints.setdefault(key, _Endpoint(labels))
        endpoint.plan = picture.plan or endpoint.plan
        self._follow_pods(endpoint, picture.observed.pods)
        endpoint.lines = {}
        for family, more, value in _samples(picture, endpoint):
            extra = "," + _labels(**more) if more else ""
            line = f"{family}{{{endpoint.labels}{extra}}} {value!r}\n"
            endpoint.lines[family] = endpoint.lines.get(family, "") + line

    def forget(self, key: ObjectKey) -> None:
        """The endpoint is gone."""
        self._endpoints.pop(key, None)

    def page(self, now: float) -> bytes:
        """The text form, at a Unix time."""
        return "".join(self._page(now)).encode()

    def _page(self, now: float) -> Iterator[str]:
        for family, text in FAMILIES.items():
            yield f"# HELP {family} {text}\n# TYPE {family} gauge\n"
            for endpoint in self._endpoints.values():
                if family == LOADING and endpoint.loading_since is not None:
                    yield f"{family}{{{endpoint.labels}}} {max(0.0, now - endpoint.loading_since)!r}\n"
                elif family in endpoint.lines:
                    yield endpoint.lines[family]

    def _follow_pods(self, endpoint: _Endpoint, pods: tuple[PodState, ...]) -> None:
        present = {pod.name for pod in pods}
        loading = [pod for pod in pods if not pod.is_ready and not pod.is_terminating]
        fresh = [pod for pod in loading if pod.name not in endpoint.started]
        endpoint.loading_since = min((unix(pod.created) for pod in fresh if pod.created), default=None)
        endpoint.started = {name: took for name, took in endpoint.started.items() if name in present}
        newly_ready = [pod for pod in pods if pod.ready_since and pod.name not in endpoint.started]
        for pod in sorted(newly_ready, key=lambda pod: pod.ready_since or ""):
            took = unix(pod.ready_since or "") - unix(pod.created)
            endpoint.started[pod.name] = endpoint.last_start_seconds = took
            if pod.name in endpoint.waiting and endpoint.plan is not None:
                engine = endpoint.plan.engine.value
                self._startups.labels(engine).observe(took)
                for phase, seconds in () if pod.startup is None else pod.startup.seconds.items():
                    self._phases.labels(engine, phase.value).observe(seconds)
        endpoint.waiting = {pod.name for pod in fresh}


Sample = tuple[str, Mapping[str, str], float]


def _samples(picture: Picture, endpoint: _Endpoint) -> Iterator[Sample]:
    deployment = picture.observed.deployment
    desired = 0 if deployment is None else deployment.desired
    yield "gemma_deployment_replicas_desired", {}, float(desired)
    yield "gemma_deployment_replicas_ready", {}, float(0 if deployment is None else deployment.ready)
    if endpoint.last_start_seconds is not None:
        yield "gemma_deployment_startup_last_seconds", {}, endpoint.last_start_seconds
    if endpoint.plan is not None:
        yield from _plan_samples(endpoint.plan, desired)
    if picture.spec is not None:
        yield from _objective_samples(picture.spec.monitoring.objectives)
        scaling = picture.spec.scaling
        if scaling is not None:
            yield "gemma_deployment_replicas_minimum", {}, float(scaling.min_replicas)
            yield "gemma_deployment_replicas_maximum", {}, float(scaling.max_replicas)
    yield from _status_samples(picture.status)


def _objective_samples(objectives: Objectives) -> Iterator[Sample]:
    percent = objectives.availability_percent
    targets = {
        "ttft_p95_seconds": objectives.time_to_first_token_p95_seconds,
        "tpot_p95_seconds": objectives.time_per_output_token_p95_seconds,
        "availability_ratio": None if percent is None else percent / 100,
    }
    for objective, target in targets.items():
        if target is not None:
            yield "gemma_deployment_objective", {"objective": objective}, target


def _plan_samples(plan: Plan, desired: int) -> Iterator[Sample]:
    words = {
        "variant": plan.variant,
        "engine": plan.engine.value,
        "accelerator": plan.accelerator,
        "precision": plan.precision.value,
    }
    yield "gemma_deployment_info", words, 1.0
    yield "gemma_deployment_startup_predicted_seconds", {}, float(plan.predicted_load_seconds)
    terms = {
        "usable": plan.memory.usable_bytes,
        "weights": plan.memory.weights_bytes,
        "kv_cache": plan.memory.kv_cache_bytes,
        "overhead": plan.memory.overhead_bytes,
    }
    for term, size in terms.items():
        yield "gemma_deployment_memory_planned_bytes", {"term": term}, float(size)
    yield "gemma_deployment_accelerators", {"accelerator": plan.accelerator}, float(plan.count * desired)
    if plan.outlook is not None and plan.outlook.hourly_cost is not None:
        yield "gemma_deployment_hourly_cost", {}, plan.outlook.hourly_cost * desired


def _status_samples(status: Status) -> Iterator[Sample]:
    for condition in status.get("conditions", ()):
        words = {name: condition[name] for name in ("type", "status", "reason")}
        yield "gemma_deployment_condition", words, 1.0
        if condition["type"] == ConditionType.UP_TO_DATE:
            is_drift = condition["reason"] == Reason.OPERATOR_CHANGED
            yield "gemma_deployment_template_drift", {}, float(is_drift)
    weights = status.get("weights") or {}
    for state, name in (("done", "bytesDone"), ("total", "bytesTotal")):
        if weights.get(name) is not None:
            yield "gemma_deployment_weights_bytes", {"state": state}, float(weights[name])


def unix(timestamp: str) -> float:
    """Unix seconds of an RFC 3339 time."""
    return datetime.fromisoformat(timestamp).timestamp()


def _labels(**words: str) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in words.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
