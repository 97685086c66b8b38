"""The condition PodsReady: whether the pods that should serve do, whatever was just planned."""

from gemma_operator.api.quantity import gib
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.status.observed import DeploymentState, Observed
from gemma_operator.status.pods import Trouble
from gemma_operator.status.verdict import Verdict


def pods_verdict(spec: GemmaDeploymentSpec | None, plan: Plan | None, observed: Observed) -> Verdict:
    """Judge the pods by the Deployment that is there. A refused edit changes no Deployment, so no verdict."""
    deployment = observed.deployment
    if deployment is None:
        return Verdict.unknown(Reason.WAITING, "no pods are asked for yet")
    if deployment.desired == 0:
        return _at_zero(spec, deployment)
    if _is_complete(deployment):
        return Verdict.true(Reason.PODS_READY, f"{_share(deployment)} take requests")
    trouble = _first_trouble(plan, observed, deployment)
    if trouble is not None:
        serving = f" ({_share(deployment)} serve meanwhile)" if deployment.ready else ""
        return Verdict.false(trouble.reason, trouble.message + serving)
    return _in_progress(deployment)


def _at_zero(spec: GemmaDeploymentSpec | None, deployment: DeploymentState) -> Verdict:
    if spec is not None and spec.scaling is not None and not spec.suspend:
        return Verdict.true(
            Reason.SCALED_TO_ZERO, "nobody asks: no pods, and the first request waits for one"
        )
    cause = "suspend is true" if spec is not None and spec.suspend else "replicas is 0"
    stopping = f"; {deployment.replicas} still stopping" if deployment.replicas else ""
    return Verdict.false(Reason.SUSPENDED, f"{cause}: no pods are wanted{stopping}")


def _is_complete(deployment: DeploymentState) -> bool:
    return (
        deployment.is_settled
        and deployment.updated == deployment.replicas == deployment.desired
        and deployment.ready >= deployment.desired
    )


def _first_trouble(plan: Plan | None, observed: Observed, deployment: DeploymentState) -> Trouble | None:
    if deployment.rejection is not None:
        return Trouble(Reason.PODS_REJECTED, deployment.rejection)
    pods = [pod for pod in observed.pods if pod.is_current and not pod.is_terminating]
    trouble = next((pod.trouble for pod in pods if pod.trouble is not None), None)
    if trouble is not None:
        return _beside_plan(trouble, plan)
    if deployment.stalled is not None:
        return Trouble(Reason.START_TIMEOUT, deployment.stalled)
    return None


def _beside_plan(trouble: Trouble, plan: Plan | None) -> Trouble:
    """What was planned, beside what was not enough."""
    if trouble.reason is not Reason.OUT_OF_MEMORY or plan is None:
        return trouble
    memory = plan.memory
    parts = f"weights {gib(memory.weights_bytes)} + KV cache {gib(memory.kv_cache_bytes)}"
    where = "on each accelerator" if plan.count else "in the triton container"
    planned = (
        f"the plan counts {parts} + overhead {gib(memory.overhead_bytes)} of {gib(memory.usable_bytes)} GiB"
        f" {where}, and {gib(plan.host.memory_bytes)} GiB of host memory"
    )
    lower = "lower model.contextLength or capacity.maxConcurrentRequests"
    remedy = f"raise hardware.{'count' if trouble.on_accelerator else 'memory'}, or {lower}"
    return Trouble(trouble.reason, f"{trouble.message}; {planned}; {remedy}")


def _in_progress(deployment: DeploymentState) -> Verdict:
    if deployment.replicas == 0:
        # Nothing is replaced by the first pods, whether or not their controller has seen the Deployment.
        return Verdict.false(Reason.STARTING, f"{_share(deployment)} take requests; pods are starting")
    if not deployment.is_settled or deployment.replicas > deployment.updated:
        updated = f"{deployment.updated} of {deployment.desired} replicas are updated"
        return Verdict.false(Reason.UPDATING, f"{updated}, {deployment.ready} take requests")
    if deployment.ready:
        return Verdict.false(Reason.DEGRADED, f"{_share(deployment)} take requests")
    return Verdict.false(Reason.STARTING, f"{_share(deployment)} take requests; pods are starting")


def _share(deployment: DeploymentState) -> str:
    noun = "replica" if deployment.desired == 1 else "replicas"
    return f"{deployment.ready} of {deployment.desired} {noun}"
