"""The status in one sentence, and the words of the printer columns."""

from gemma_operator.api.v1alpha1 import ConditionStatus
from gemma_operator.planning.plan import CPU, Plan
from gemma_operator.status.verdict import Verdict


def summarize(ready: Verdict, plan: Plan | None, ready_replicas: int, desired: int) -> str:
    """Who serves what; or what is in the way, and whether anybody serves meanwhile."""
    if ready.status is ConditionStatus.TRUE and plan is not None:
        return f"{ready_replicas} of {desired} {_replicas(desired)} serve {plan_sentence(plan)}."
    serving = (
        f"{ready_replicas} of {desired} {_replicas(desired)} serve" if ready_replicas else "Nothing serves"
    )
    return f"{serving}: {ready.message.rstrip('.')}."


def plan_sentence(plan: Plan) -> str:
    """Such as `gemma-3-270m in Q4_K_M with LlamaCpp on cpu, 4 requests of 8192 tokens at once`."""
    requests = "request" if plan.max_concurrent_requests == 1 else "requests"
    return (
        f"{plan.variant} in {plan.precision.value} with {plan.engine.value} on {accelerator_text(plan)}, "
        f"{plan.max_concurrent_requests} {requests} of {plan.context_length} tokens at once"
    )


def accelerator_text(plan: Plan) -> str:
    """`cpu`, or such as `2x nvidia-l4`."""
    return CPU if plan.accelerator == CPU else f"{plan.count}x {plan.accelerator}"


def _replicas(count: int) -> str:
    return "replica" if count == 1 else "replicas"
