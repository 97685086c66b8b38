"""Which pods should run: those that the spec asks for, or those that last served. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gemma_operator.api.manifest import (
    ROLE_LABEL,
    ROLLED_BACK_ANNOTATION,
    SERVING,
    Manifest,
    Owner,
    is_controlled_by,
    short_name,
)
from gemma_operator.api.v1alpha1 import UpgradePolicy
from gemma_operator.resources.revision import Revision
from gemma_operator.resources.rollout import template_hash_of
from gemma_operator.resources.room import FINISHED_PHASES


class Course(StrEnum):
    """Where the pods are going."""

    RENDERED = "Rendered"
    """To what the spec asks for."""
    HELD = "Held"
    """Nowhere: only the operator would change them."""
    BACK = "Back"
    """Back to what last served: the rollout failed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A rollout that failed."""

    template_hash: str
    spec_hash: str
    cause: str

    def annotation(self) -> str:
        """As it is kept on the Deployment."""
        return json.dumps(
            {"templateHash": self.template_hash, "specHash": self.spec_hash, "cause": self.cause},
            separators=(",", ":"),
            ensure_ascii=False,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """What is in force, and why."""

    course: Course
    revision: Revision
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What there is to choose from."""

    rendered: Revision
    good: Revision | None
    """What last served with all its replicas."""
    live: Manifest | None
    """The Deployment."""
    is_running: bool
    """Whether any pod runs that a change would end."""
    cause: str
    """What is wrong with the pods now, should the rollout count as failed."""
    policy: UpgradePolicy


def choose(situation: Situation, *, may_upgrade: bool) -> Choice:
    """Decide. `may_upgrade`: whether it is this one's turn to follow a newer operator."""
    rendered, good, live = situation.rendered, situation.good, situation.live
    if good is None or live is None or good.template_hash == rendered.template_hash:
        return Choice(Course.RENDERED, rendered)
    failure = _failure_of(live)
    if failure is not None and _stands(failure, situation):
        return Choice(Course.BACK, good, failure)
    live_hash = template_hash_of(live)
    if live_hash == rendered.template_hash and is_stalled(live):
        failed = Failure(rendered.template_hash, rendered.spec_hash, situation.cause)
        return Choice(Course.BACK, good, failed)
    is_unedited = rendered.spec_hash == good.spec_hash
    if is_unedited and live_hash == good.template_hash and situation.is_running and not may_upgrade:
        return Choice(Course.HELD, good)
    return Choice(Course.RENDERED, rendered)


def _stands(failure: Failure, situation: Situation) -> bool:
    """Whether trying again would be the same attempt: a newer operator alone makes none, unless it may."""
    rendered = situation.rendered
    if failure.template_hash == rendered.template_hash:
        return True
    return failure.spec_hash == rendered.spec_hash and situation.policy is UpgradePolicy.MANUAL


def is_stalled(deployment: Manifest) -> bool:
    """Whether the rollout of the current spec is past its progress deadline."""
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 1):
        return False
    return any(
        condition["type"] == "Progressing"
        and condition["status"] == "False"
        and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in status.get("conditions") or ()
    )


def is_complete(deployment: Manifest) -> bool:
    """Whether all wanted pods are of the current template, and take requests."""
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    return bool(
        wanted
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
        and status.get("readyReplicas", 0) >= wanted
    )


def any_runs(children: Sequence[Manifest]) -> bool:
    """Whether a serving pod is on a node."""
    return any(
        child["kind"] == "Pod"
        and (child["metadata"].get("labels") or {}).get(ROLE_LABEL, SERVING) == SERVING
        and "deletionTimestamp" not in child["metadata"]
        and (child.get("spec") or {}).get("nodeName")
        and (child.get("status") or {}).get("phase") not in FINISHED_PHASES
        for child in children
    )


def live_deployment(owner: Owner, children: Sequence[Manifest]) -> Manifest | None:
    """The owner's Deployment, if it is there to stay."""
    return next(
        (
            child
            for child in children
            if child["kind"] == "Deployment"
            and child["metadata"]["name"] == short_name(owner.name)
            and is_controlled_by(child, owner.uid)
            and "deletionTimestamp" not in child["metadata"]
        ),
        None,
    )


def _failure_of(deployment: Manifest) -> Failure | None:
    text = (deployment["metadata"].get("annotations") or {}).get(ROLLED_BACK_ANNOTATION)
    try:
        kept = json.loads(text or "")
        return Failure(str(kept["templateHash"]), str(kept["specHash"]), str(kept["cause"]))
    except (ValueError, KeyError, TypeError):
        return None
