"""The condition UpToDate: whether the pods are what the spec asks for, and if not, why not."""

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import RenderedStatus
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.status.observed import Observed
from gemma_operator.status.verdict import Verdict


def up_to_date(outcome: Plan | Refusal | None, observed: Observed) -> Verdict:
    """What the rollout says of itself; of a refused edit, that the pods run what was accepted before."""
    if observed.rollout is not None:
        return observed.rollout.verdict
    if isinstance(outcome, Refusal) and observed.deployment is not None:
        return Verdict.false(outcome.reason, "the latest edit is refused; the pods stay as they were before")
    return Verdict.unknown(Reason.WAITING, "nothing is rendered yet")


def rendered_status(observed: Observed) -> RenderedStatus | None:
    """Template and operator version of the pods in force."""
    rollout = observed.rollout
    if rollout is None:
        return None
    return RenderedStatus(
        operator_version=rollout.operator_version,
        template_hash=rollout.template_hash,
        pending=rollout.pending,
    )
