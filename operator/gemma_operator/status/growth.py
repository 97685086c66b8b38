"""What the cluster autoscaler says of a pod without a node: one comes, or why none does. Pure."""

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.reasons import Reason

FAILED = "FailedScaleUp"
"""A Warning: a node was tried, and the cloud refused it."""
REFUSED = "NotTriggerScaleUp"
"""No node was tried: none would do, or a limit of the autoscaler is reached."""
STARTED = "TriggeredScaleUp"
"""A node is being added."""
EVENTS = frozenset({FAILED, REFUSED, STARTED})

_QUOTA_WORDS = ("quota", "stockout", "resource_pool_exhausted", "out of resources", "limit exceeded")
"""How clouds say that a project, or a zone, has no more of something."""
_LIMIT_WORDS = ("max node group size reached", "max cluster", "max total nodes", "max limit reached")
"""How the autoscaler says that it may not add what would do."""
_BACKOFF_WORDS = "in backoff after failed scale-up"
_QUOTA_HINT = (
    "ask for more of that quota (the project's sum over all GPUs is one of its own), or name another"
    " accelerator or zone"
)
_LIMIT_HINT = "raise the maximum of that node pool, or of the cluster's autoscaler"
_POOL_HINT = "check that a node pool, or auto-provisioning, offers what the pod asks for"


def refusal(event: str, message: str) -> tuple[Reason, str]:
    """Why no node was added: the reason, and what to do."""
    said = message.lower()
    if any(word in said for word in _QUOTA_WORDS):
        return Reason.QUOTA_EXCEEDED, _QUOTA_HINT
    is_limit = event == REFUSED and any(word in said for word in _LIMIT_WORDS)
    return Reason.ACCELERATOR_NOT_PROVISIONABLE, _LIMIT_HINT if is_limit else _POOL_HINT


def is_echo(event: Manifest) -> bool:
    """Whether it only says that nothing is tried again yet: the cause stands in the failure before."""
    return event.get("reason") == REFUSED and _BACKOFF_WORDS in (event.get("message") or "")
