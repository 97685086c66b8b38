"""What replicas follow, as queries and as one formula. Pure.

Every signal is counted in replicas that it asks for, not in a factor on those that there are. So pods that
still load are credited in full: a burst asks for the same number until they are there, and never doubles.
"""

from dataclasses import dataclass, field

from gemma_operator.api.manifest import Owner
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, ScalingSpec, Signal
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.autoscaling.bounds import reaches_zero

DEFAULT_WAITING = 4.0
"""Waiting requests for each replica. Google's samples take 5 and 10, its guide 3 to 5 (queue size)."""
DEFAULT_KV_CACHE = 0.8
"""Share of the KV cache: above it, sequences are preempted or wait (llm-d and GKE samples take 0.8)."""
DEFAULT_FIRST_TOKEN_SECONDS = 2.0
"""Where no objective is set: NVIDIA Dynamo's default."""
STEEPEST = 2.0
"""Times as many replicas as serve now, at most, that latency alone may ask for (llm-d's SLO-aware KEDA)."""
RATE_WINDOW = "2m"
"""Eight scrapes at 15 s: p90 of a quiet endpoint does not jump."""

WAITING = "gemma_requests_waiting"
RUNNING = "gemma_requests_running"
KV_USED, KV_TOTAL = "gemma_kv_cache_used_tokens", "gemma_kv_cache_total_tokens"
DOOR_WAITING = "gemma_front_door_requests_waiting"
DOOR_RUNNING = "gemma_front_door_requests_running"


@dataclass(frozen=True, slots=True)
class Source:
    """One number that the autoscaler reads."""

    name: str
    """Within the formula."""
    query: str
    """PromQL; one element, always there while pods (or the front door) are scraped."""
    metric: str
    """The series that it rests on."""
    selector: tuple[tuple[str, str], ...]
    """Labels of it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """All of them, and the replicas that they ask for together."""

    sources: tuple[Source, ...]
    formula: str
    """In the words of expr-lang, which KEDA evaluates: replicas wanted."""
    waiting_target: float | None
    """Waiting requests for each replica; None where the queue is not followed."""
    kv_cache_target: float | None
    slots: int
    kv_cache_tokens: int
    """Of one replica: what the plan's concurrency holds at its context length."""
    signals: tuple[Signal, ...] = field(default=())


def sources_for(owner: Owner, spec: GemmaDeploymentSpec, scaling: ScalingSpec, plan: Plan) -> Sources:
    """What an endpoint is scaled on. Busy slots always count: a full replica is never taken away as idle."""
    targets = {scaling.signal: scaling.target}
    targets |= {more.signal: more.target for more in scaling.additional_signals}
    at_zero = reaches_zero(scaling)
    of_pods = (("namespace", owner.namespace), ("model", owner.name))
    of_door = (("endpoint_namespace", owner.namespace), ("model", owner.name))
    slots = plan.max_concurrent_requests
    sources = [Source("running", _sum(RUNNING, of_pods, at_zero), RUNNING, of_pods)]
    asks = [f"running / {slots}"]
    if at_zero:
        sources.append(Source("door_running", _sum(DOOR_RUNNING, of_door), DOOR_RUNNING, of_door))
        sources.append(Source("door_waiting", _sum(DOOR_WAITING, of_door), DOOR_WAITING, of_door))
        asks.append("(door_running + door_waiting > 0 ? 1 : 0)")
    waiting_target = kv_cache_target = None
    if Signal.WAITING_REQUESTS in targets:
        waiting_target = targets[Signal.WAITING_REQUESTS] or DEFAULT_WAITING
        sources.append(Source("waiting", _sum(WAITING, of_pods, at_zero), WAITING, of_pods))
        asks.append(f"{'(waiting + door_waiting)' if at_zero else 'waiting'} / {waiting_target:g}")
    if Signal.KV_CACHE_UTILIZATION in targets:
        kv_cache_target = targets[Signal.KV_CACHE_UTILIZATION] or DEFAULT_KV_CACHE
        share = f"sum({_series(KV_USED, of_pods)} / {_series(KV_TOTAL, of_pods)})"
        sources.append(Source("kv_cache", _or_zero(share, at_zero), KV_USED, of_pods))
        asks.append(f"kv_cache / {kv_cache_target:g}")
    if Signal.TIME_TO_FIRST_TOKEN in targets:
        objective = spec.monitoring.objectives.time_to_first_token_p95_seconds
        seconds = targets[Signal.TIME_TO_FIRST_TOKEN] or objective or DEFAULT_FIRST_TOKEN_SECONDS
        query = _or_zero(_first_token(of_pods, seconds), at_zero)
        sources.append(Source("first_token", query, RUNNING, of_pods))
        asks.append("first_token")
    ordered = (scaling.signal, *(more.signal for more in scaling.additional_signals))
    formula = f"max({', '.join(asks)})" if len(asks) > 1 else asks[0]
    tokens = slots * plan.context_length
    return Sources(tuple(sources), formula, waiting_target, kv_cache_target, slots, tokens, ordered)


def _first_token(labels: tuple[tuple[str, str], ...], seconds: float) -> str:
    """Serving replicas times how far p90 is over the objective; without requests, none are asked for."""
    bucket = _series("gemma_time_to_first_token_seconds_bucket", labels)
    p90 = f"histogram_quantile(0.9, sum by (le) (rate({bucket}[{RATE_WINDOW}])))"
    serving = f"count({_series(RUNNING, labels)})"
    return f"(clamp_max({p90} / {seconds:g} > 0, {STEEPEST:g}) * {serving}) or 0 * {serving}"


def _sum(metric: str, labels: tuple[tuple[str, str], ...], absent_at_zero: bool = False) -> str:
    return _or_zero(f"sum({_series(metric, labels)})", absent_at_zero)


def _or_zero(query: str, absent_at_zero: bool) -> str:
    """Without pods there is no series of theirs. Whether somebody asks is then told by the front door's."""
    return f"{query} or vector(0)" if absent_at_zero else query


def _series(metric: str, labels: tuple[tuple[str, str], ...]) -> str:
    chosen = ",".join(f'{name}="{value}"' for name, value in labels)
    return f"{metric}{{{chosen}}}"
