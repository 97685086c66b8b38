"""The model selection guide, answered with verified plans: which variant for a task, a budget and a load."""

from collections.abc import Callable
from dataclasses import dataclass

from gemma_operator.api.v1alpha1 import (
    CapacitySpec,
    EngineName,
    EngineSpec,
    GemmaDeploymentSpec,
    HardwareSpec,
    ModelSpec,
    Optimization,
)
from gemma_operator.catalog.rows import Form, Task, Variant
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import Plan, Refusal

MODALITY = {Task.VISION: "image", Task.AUDIO: "audio"}
"""What a plan must take in for a task: an engine may serve less than the variant can."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a team wants."""

    task: Task
    context: int
    concurrency: int
    hourly_budget: float | None = None
    accelerator: str | None = None
    optimization: Optimization = Optimization.BALANCED
    least_tokens_per_second: float = 5.0
    """Slowest that one caller's stream may be; 5 is about a reader's speed."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A variant that does the task, with its verified plan."""

    variant: str
    row: Variant
    plan: Plan


def recommend(
    need: Need, world: World, decide: Callable[[GemmaDeploymentSpec], Plan | Refusal]
) -> tuple[Recommendation, ...]:
    """Variants that fit the need, the most capable first, then the cheapest."""
    found = []
    for key, row in world.catalog.variants.items():
        if need.task not in row.tasks or row.refusal is not None or row.context_length < need.context:
            continue
        if row.form is Form.PT and need.task is not Task.CODE:
            continue
        plan = decide(_spec(key, need))
        if isinstance(plan, Plan) and _suits(plan, need):
            found.append(Recommendation(key, row, plan))
    return tuple(sorted(found, key=lambda one: (-one.row.quality, _hourly(one.plan), one.variant)))


def _spec(variant: str, need: Need) -> GemmaDeploymentSpec:
    modality = MODALITY.get(need.task)
    return GemmaDeploymentSpec(
        model=ModelSpec(variant=variant, context_length=need.context, optimization=need.optimization),
        engine=EngineSpec(name=EngineName.VLLM if modality else EngineName.AUTO),
        hardware=HardwareSpec(accelerator=need.accelerator or "Auto"),
        capacity=CapacitySpec(max_concurrent_requests=need.concurrency),
    )


def _suits(plan: Plan, need: Need) -> bool:
    modality = MODALITY.get(need.task)
    if modality is not None and modality not in plan.modalities:
        return False
    if plan.outlook and plan.outlook.speed.per_request.expected < need.least_tokens_per_second:
        return False
    return need.hourly_budget is None or _hourly(plan) <= need.hourly_budget


def _hourly(plan: Plan) -> float:
    """Unknown prices count as nothing on CPU, where nodes are paid for anyway, and as too much elsewhere."""
    cost = plan.outlook.hourly_cost if plan.outlook else None
    if cost is None:
        return 0.0 if plan.count == 0 else float("inf")
    return cost
