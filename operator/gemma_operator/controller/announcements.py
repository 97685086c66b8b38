"""Kubernetes Events for transitions of a GemmaDeployment. Pure."""

from collections.abc import Iterable

from gemma_operator.api.base import GROUP
from gemma_operator.api.manifest import MANAGER, Manifest, Owner, content_hash
from gemma_operator.api.reasons import ConditionType, Reason
from gemma_operator.api.v1alpha1 import ConditionStatus
from gemma_operator.kube.kinds import ANNOUNCEMENT
from gemma_operator.status.conditions import Transition

NOTE_LIMIT = 1024
"""Characters of an Event's note (events.k8s.io/v1)."""
_NAME_LIMIT = 253 - 20

_ON_THE_WAY = frozenset(
    {Reason.WAITING, Reason.FETCHING, Reason.WEIGHTS_PENDING, Reason.STARTING, Reason.UPDATING}
)
"""Reasons that only say that things go on; a table of them is what `kubectl get --watch` is for."""


def announcements(owner: Owner, transitions: Iterable[Transition], now: str) -> list[Manifest]:
    """One Event for each transition of Ready, which repeats the condition that decides, that is worth being
    told.

    The name follows from what is told and when, so that telling it twice, after a crash, makes one Event.
    `now` is RFC 3339 UTC in seconds.
    """
    return [
        _event(owner, transition, now)
        for transition in transitions
        if transition.type is ConditionType.READY and transition.reason not in _ON_THE_WAY
    ]


def _event(owner: Owner, transition: Transition, now: str) -> Manifest:
    note = transition.message
    told = [owner.uid, transition.type, transition.status, transition.reason, note, now]
    return {
        "apiVersion": ANNOUNCEMENT.api_version,
        "kind": ANNOUNCEMENT.name,
        "metadata": {
            "name": f"{owner.name[:_NAME_LIMIT]}.{content_hash(told)}",
            "namespace": owner.namespace,
        },
        "type": "Normal" if transition.status is ConditionStatus.TRUE else "Warning",
        "reason": transition.reason,
        "note": note if len(note) <= NOTE_LIMIT else note[: NOTE_LIMIT - 1] + "…",
        "action": "Reconcile",
        "eventTime": now.replace("Z", ".000000Z"),
        "reportingController": f"{GROUP}/{MANAGER}",
        "reportingInstance": MANAGER,
        "regarding": {
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.name,
            "namespace": owner.namespace,
            "uid": owner.uid,
        },
    }
