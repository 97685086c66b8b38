"""The status: one pure function of spec, plan, what is observed, what was said before, and the time."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gemma_operator.api.manifest import SERVING, endpoint_url, selector_labels
from gemma_operator.api.quantity import gib
from gemma_operator.api.reasons import ConditionType, Reason, reason_named
from gemma_operator.api.v1alpha1 import (
    AdapterStatus,
    Condition,
    ConditionStatus,
    GemmaDeploymentSpec,
    GemmaDeploymentStatus,
    PlanMemory,
    PlanStatus,
    SpeedStatus,
    StartupStatus,
    WeightsStatus,
)
from gemma_operator.planning.plan import Outlook, Plan, Refusal
from gemma_operator.status.adapters import adapters_status
from gemma_operator.status.observed import Observed
from gemma_operator.status.podsready import pods_verdict
from gemma_operator.status.rollout import rendered_status, up_to_date
from gemma_operator.status.scaling import Fleet, scaling_verdict
from gemma_operator.status.startup import startup_status
from gemma_operator.status.summary import accelerator_text, plan_sentence, summarize
from gemma_operator.status.verdict import Verdict, shortened
from gemma_operator.status.weights import weights_status, weights_verdict

Status = dict[str, Any]
"""`status` of a GemmaDeployment as plain data, as it is stored."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition that changed: worth one Kubernetes event."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str


def next_status(
    spec: GemmaDeploymentSpec | None,
    generation: int,
    outcome: Plan | Refusal | None,
    observed: Observed,
    previous: Status,
    now: str,
) -> Status:
    """What to say of this generation. `spec` is None when it cannot be read; `now` is RFC 3339 UTC.

    Told its own answer as `previous` it answers the same: a status is written only when something changed.
    """
    before = read_status(previous)
    plan = outcome if isinstance(outcome, Plan) else None
    in_force = plan if observed.rollout is None or observed.rollout.pending is None else None
    planned = _planned(outcome)
    weights = _weights(spec, in_force, observed, before, now)
    pods = pods_verdict(spec, in_force, observed)
    verdicts = {
        ConditionType.PLANNED: planned,
        ConditionType.WEIGHTS_READY: weights,
        ConditionType.PODS_READY: pods,
    }
    ready = _roll_up(verdicts)
    deployment = observed.deployment
    desired = deployment.desired if deployment is not None else (spec.replicas if spec is not None else 0)
    ready_replicas = deployment.ready if deployment is not None else 0
    status = GemmaDeploymentStatus(
        observed_generation=generation,
        conditions=_conditions(
            {
                **verdicts,
                ConditionType.READY: ready,
                ConditionType.UP_TO_DATE: up_to_date(outcome, observed),
                **_scaling(spec, observed, before, now),
            },
            generation,
            before,
            now,
        ),
        summary=summarize(ready, plan, ready_replicas, desired),
        url=endpoint_url(observed.owner),
        accelerator=accelerator_text(in_force) if in_force is not None else before.accelerator,
        ready=f"{ready_replicas}/{desired}",
        replicas=deployment.replicas if deployment is not None else 0,
        ready_replicas=ready_replicas,
        selector=",".join(
            f"{key}={value}" for key, value in selector_labels(observed.owner, SERVING).items()
        ),
        plan=_plan_status(in_force) if in_force is not None else _kept_plan(observed, before),
        weights=_weights_status(in_force, observed, before),
        adapters=_adapters(in_force, observed, before),
        startup=_startup(spec, in_force, observed, before),
        rendered=rendered_status(observed) or before.rendered,
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def interrupted_status(previous: Status, generation: int, reason: Reason, message: str, now: str) -> Status:
    """What to say when reconciling itself failed (Forbidden, NameTaken, a defect): the rest stands."""
    before = read_status(previous)
    kept = [condition for condition in before.conditions if condition.type != ConditionType.READY]
    verdict = Verdict.false(reason, message)
    ready = _condition(ConditionType.READY, verdict, generation, before, now)
    status = before.model_copy(update={"conditions": [*kept, ready], "summary": verdict.message})
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def transitions(previous: Status, following: Status) -> list[Transition]:
    """Conditions whose status or reason changed, in order. A first Unknown is no news."""
    before = {c.type: (c.status, c.reason) for c in read_status(previous).conditions}
    return [
        Transition(ConditionType(condition.type), condition.status, condition.reason, condition.message)
        for condition in read_status(following).conditions
        if before.get(condition.type) != (condition.status, condition.reason)
        and not (condition.type not in before and condition.status is ConditionStatus.UNKNOWN)
    ]


def read_status(stored: Status) -> GemmaDeploymentStatus:
    """The status as it is stored; of one that another version wrote, what this one understands."""
    try:
        return GemmaDeploymentStatus.model_validate(stored)
    except ValidationError:
        conditions = stored.get("conditions")
        readable = [_read_condition(c) for c in conditions] if isinstance(conditions, list) else []
        return GemmaDeploymentStatus(
            conditions=[condition for condition in readable if condition is not None]
        )


def _read_condition(stored: Any) -> Condition | None:
    try:
        return Condition.model_validate(stored)
    except ValidationError:
        return None


def _planned(outcome: Plan | Refusal | None) -> Verdict:
    match outcome:
        case Plan():
            return Verdict.true(Reason.PLANNED, plan_sentence(outcome))
        case Refusal():
            return Verdict.false(outcome.reason, outcome.message)
        case None:
            return Verdict.unknown(Reason.WAITING, "nothing is planned yet")


def _weights(
    spec: GemmaDeploymentSpec | None,
    plan: Plan | None,
    observed: Observed,
    before: GemmaDeploymentStatus,
    now: str,
) -> Verdict:
    """Without a plan the weights are what they were: a refused edit fetches nothing."""
    if spec is not None and plan is not None:
        return weights_verdict(spec, plan, observed, now)
    stood = next((c for c in before.conditions if c.type == ConditionType.WEIGHTS_READY), None)
    reason = reason_named(stood.reason) if stood is not None else None
    if stood is None or reason is None or observed.deployment is None:
        return Verdict.unknown(Reason.WAITING, "waits for a plan")
    return Verdict(stood.status, reason, stood.message)


def _scaling(
    spec: GemmaDeploymentSpec | None, observed: Observed, before: GemmaDeploymentStatus, now: str
) -> dict[ConditionType, Verdict]:
    """Where replicas are a fixed number there is no such condition; a refused edit leaves it as it was."""
    deployment = observed.deployment
    said = next((c for c in before.conditions if c.type == ConditionType.SCALING_ACTIVE), None)
    reason = reason_named(said.reason) if said is not None else None
    stood = None if said is None or reason is None else Verdict(said.status, reason, said.message)
    if observed.scaling is not None and deployment is not None:
        times = [pod.ready_since for pod in observed.pods if pod.ready_since is not None]
        troubles = (pod.trouble for pod in observed.pods if pod.trouble is not None)
        unplaced = next((t.message for t in troubles if t.reason is Reason.UNSCHEDULABLE), None)
        fleet = Fleet(deployment.desired, deployment.ready, min(times, default=None), unplaced)
        return {ConditionType.SCALING_ACTIVE: scaling_verdict(observed.scaling, fleet, now, stood)}
    if observed.scaling is not None or (spec is not None and (spec.scaling is None or spec.suspend)):
        return {}
    return {} if stood is None else {ConditionType.SCALING_ACTIVE: stood}


def _roll_up(verdicts: dict[ConditionType, Verdict]) -> Verdict:
    """The first that is False speaks, then the first that is Unknown."""
    for status in (ConditionStatus.FALSE, ConditionStatus.UNKNOWN):
        for verdict in verdicts.values():
            if verdict.status is status:
                return verdict
    return Verdict.true(Reason.READY, verdicts[ConditionType.PODS_READY].message)


def _conditions(
    verdicts: dict[ConditionType, Verdict], generation: int, before: GemmaDeploymentStatus, now: str
) -> list[Condition]:
    return [_condition(kind, verdict, generation, before, now) for kind, verdict in verdicts.items()]


def _condition(
    kind: ConditionType, verdict: Verdict, generation: int, before: GemmaDeploymentStatus, now: str
) -> Condition:
    stood = next((condition for condition in before.conditions if condition.type == kind), None)
    is_same = stood is not None and stood.status == verdict.status
    return Condition(
        type=kind.value,
        status=verdict.status,
        observed_generation=generation,
        last_transition_time=stood.last_transition_time if stood is not None and is_same else now,
        reason=verdict.reason.value,
        message=shortened(verdict.message),
    )


def _kept_plan(observed: Observed, before: GemmaDeploymentStatus) -> PlanStatus | None:
    if observed.rollout is None or observed.rollout.plan is None:
        return before.plan
    try:
        return PlanStatus.model_validate(observed.rollout.plan)
    except ValidationError:
        return before.plan


def _weights_status(
    plan: Plan | None, observed: Observed, before: GemmaDeploymentStatus
) -> WeightsStatus | None:
    return before.weights if plan is None else weights_status(plan, observed, before.weights)


def _adapters(
    plan: Plan | None, observed: Observed, before: GemmaDeploymentStatus
) -> list[AdapterStatus] | None:
    """Pods that are held have other adapters than the spec's: what was said of them stands."""
    if plan is None:
        return before.adapters
    return adapters_status([adapter.name for adapter in plan.adapters], observed.adapters) or None


def _startup(
    spec: GemmaDeploymentSpec | None, plan: Plan | None, observed: Observed, before: GemmaDeploymentStatus
) -> list[StartupStatus]:
    told = None if before.rendered is None else before.rendered.template_hash
    is_same = observed.rollout is not None and observed.rollout.template_hash == told
    fetches = spec is not None and spec.cache is None and plan is not None and bool(plan.fetched)
    pods = [pod.startup for pod in observed.pods if pod.is_current and pod.startup is not None]
    return startup_status(plan, fetches, pods, before.startup, is_same)


def _plan_status(plan: Plan) -> PlanStatus:
    memory = plan.memory
    return PlanStatus(
        engine=plan.engine,
        engine_version=plan.engine_version,
        image=plan.image,
        accelerator=plan.accelerator,
        count=plan.count,
        tensor_parallel_size=plan.tensor_parallel_size,
        precision=plan.precision,
        context_length=plan.context_length,
        max_concurrent_requests=plan.max_concurrent_requests,
        memory=PlanMemory(
            usable=gib(memory.usable_bytes),
            weights=gib(memory.weights_bytes),
            kv_cache=gib(memory.kv_cache_bytes),
            overhead=gib(memory.overhead_bytes),
            headroom=gib(memory.headroom_bytes),
        ),
        tokens_per_second=_speed_status(plan.outlook),
        hourly_cost=_cost_text(plan.outlook),
    )


def _speed_status(outlook: Outlook | None) -> SpeedStatus | None:
    if outlook is None:
        return None
    speed = outlook.speed.total
    return SpeedStatus(low=f"{speed.low:.1f}", expected=f"{speed.expected:.1f}", high=f"{speed.high:.1f}")


def _cost_text(outlook: Outlook | None) -> str | None:
    return None if outlook is None or outlook.hourly_cost is None else f"{outlook.hourly_cost:.2f}"
