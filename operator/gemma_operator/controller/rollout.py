"""From what was rendered to what is desired now: which revision, at which pace, and what is said of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gemma_operator.api.manifest import ROLLED_BACK_ANNOTATION, Manifest, ObjectKey, Owner
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, UpgradePolicy
from gemma_operator.resources.choice import (
    Choice,
    Course,
    Situation,
    any_runs,
    choose,
    is_complete,
    live_deployment,
)
from gemma_operator.resources.revision import (
    Revision,
    needed_to_return,
    read_record,
    record_of,
    restored,
    revision_of,
)
from gemma_operator.resources.rollout import (
    Decision,
    Replacement,
    claim_of_one_node,
    decide,
    pace_of,
    template_hash_of,
)
from gemma_operator.resources.room import Room
from gemma_operator.status.observed import Observed, PodState, RolloutState
from gemma_operator.status.podsready import pods_verdict
from gemma_operator.status.verdict import Verdict

_OBSTACLES = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.QUOTA_EXCEEDED,
        Reason.ACCELERATOR_NOT_PROVISIONABLE,
        Reason.GPU_DRIVER_MISSING,
        Reason.VOLUME_UNAVAILABLE,
    }
)
"""A new pod waits for what an old one has: its accelerator, or a volume that only one node can mount."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rollout is decided from, beside the spec and what was rendered."""

    children: Sequence[Manifest]
    observed: Observed
    plan_told: Manifest | None
    """`status.plan` as it was last written."""
    room: Callable[[Manifest], Room]
    """Room for one more pod of a spec; asked only where it matters."""
    takes_turn: Callable[[], bool]
    """Asks for the turn to follow a newer operator."""
    operator_version: str
    now: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What is desired, and what is said of it."""

    desired: tuple[Manifest, ...]
    keep: frozenset[ObjectKey]
    """Not to be pruned."""
    state: RolloutState
    is_upgrading: bool
    """Whether pods are being replaced for the operator's sake alone."""
    look_again_seconds: float | None


def settle(
    owner: Owner, spec: GemmaDeploymentSpec, rendered: Sequence[Manifest], around: Surroundings
) -> Settled:
    """Decide on revision and pace. Pure but for the turn it may take."""
    live = live_deployment(owner, around.children)
    good = read_record(owner, around.children)
    new = revision_of(spec, rendered, around.operator_version)
    situation = Situation(
        rendered=new,
        good=good,
        live=live,
        is_running=any_runs(around.children),
        cause=pods_verdict(spec, None, around.observed).message,
        policy=spec.rollout.upgrade_policy,
    )
    choice = choose(situation, may_upgrade=False)
    if choice.course is Course.HELD and situation.policy is UpgradePolicy.AUTOMATIC and around.takes_turn():
        choice = choose(situation, may_upgrade=True)
    record = _record(choice.revision, good, live, around)
    in_force = _versioned(choice.revision, record)
    decision = _pace(spec, live, choice, around)
    wanted = rendered if choice.course is Course.RENDERED else restored(owner, choice.revision, rendered)
    desired = tuple(_marked(manifest, decision, choice) for manifest in wanted)
    return Settled(
        desired=desired if record is None else (*desired, record_of(owner, record)),
        keep=frozenset() if record is None else needed_to_return(record),
        state=_state(choice, in_force, new, decision, _is_moving(live, choice, around)),
        is_upgrading=choice.course is Course.RENDERED
        and good is not None
        and good.template_hash != new.template_hash
        and good.spec_hash == new.spec_hash,
        look_again_seconds=decision.look_again_seconds,
    )


def waiting_for_weights(state: RolloutState) -> RolloutState:
    """The same while new pods cannot be made yet."""
    verdict = Verdict.false(Reason.WAITING, "new pods are made once their weights are there")
    return replace(state, verdict=verdict)


def _record(
    revision: Revision, good: Revision | None, live: Manifest | None, around: Surroundings
) -> Revision | None:
    """What to go back to: this revision once all its replicas serve, and until then the one before."""
    is_same = good is not None and good.template_hash == revision.template_hash
    is_live = live is not None and template_hash_of(live) == revision.template_hash
    if is_same and good is not None:
        return replace(revision, operator_version=good.operator_version, plan=good.plan or around.plan_told)
    if live is not None and is_live and is_complete(live):
        return replace(revision, plan=around.plan_told)
    return good


def _versioned(revision: Revision, record: Revision | None) -> Revision:
    """The version that first rendered it, as far as that is remembered."""
    if record is not None and record.template_hash == revision.template_hash:
        return record
    return revision


def _pace(spec: GemmaDeploymentSpec, live: Manifest | None, choice: Choice, around: Surroundings) -> Decision:
    template = next(m for m in choice.revision.objects if m["kind"] == "Deployment")["spec"]["template"]
    deployment = around.observed.deployment
    stuck = _stuck_pod(around.observed)
    is_new = live is not None and template_hash_of(live) != choice.revision.template_hash
    replacement = Replacement(
        strategy=spec.rollout.strategy,
        serving=0 if deployment is None else deployment.ready,
        pace=None if live is None else pace_of(live),
        is_new=is_new,
        # The first pods replace none: a pace of their own would cost two writes for each new endpoint.
        is_replacing=bool(around.observed.pods) and _is_replacing(around.observed),
        obstacle=stuck.trouble.message if stuck is not None and stuck.trouble is not None else None,
        waited_seconds=0.0 if stuck is None else _seconds(stuck.created, around.now),
        claim=claim_of_one_node(live, choice.revision.objects) if live is not None and is_new else None,
    )
    return decide(replacement, lambda: around.room(template["spec"]))


def _is_replacing(observed: Observed) -> bool:
    deployment = observed.deployment
    # Pods come with the first watch event, its status with a later one: in between it looks unsettled.
    if deployment is None or deployment.desired == 0 or deployment.is_first:
        return False
    # ReplicaSets have a watch of their own: while it is behind, pods of the old template look current.
    is_behind = deployment.updated < deployment.replicas
    return not deployment.is_settled or is_behind or any(not pod.is_current for pod in observed.pods)


def _is_moving(live: Manifest | None, choice: Choice, around: Surroundings) -> bool:
    """Whether pods are on their way from one template to another; the first ones are not."""
    is_new = live is not None and template_hash_of(live) != choice.revision.template_hash
    return is_new or (bool(around.observed.pods) and _is_replacing(around.observed))


def _stuck_pod(observed: Observed) -> PodState | None:
    """A pod of the newest template that has no place."""
    return next(
        (
            pod
            for pod in observed.pods
            if pod.is_current
            and not pod.is_terminating
            and pod.trouble is not None
            and pod.trouble.reason in _OBSTACLES
        ),
        None,
    )


def _seconds(since: str, now: str) -> float:
    if not since:
        return 0.0
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()


def _marked(manifest: Manifest, decision: Decision, choice: Choice) -> Manifest:
    """The Deployment with its pace, and with what failed where it goes back."""
    if manifest["kind"] != "Deployment":
        return manifest
    metadata = manifest["metadata"]
    if choice.failure is not None:
        annotations = {**metadata["annotations"], ROLLED_BACK_ANNOTATION: choice.failure.annotation()}
        metadata = {**metadata, "annotations": annotations}
    spec = {**manifest["spec"], "strategy": decision.pace.manifest()}
    return {**manifest, "metadata": metadata, "spec": spec}


def _state(
    choice: Choice, in_force: Revision, new: Revision, decision: Decision, is_moving: bool
) -> RolloutState:
    if choice.course is Course.RENDERED:
        verdict = Verdict.true(Reason.UP_TO_DATE, "the pods are what the spec asks for")
        if is_moving:
            verdict = Verdict.false(Reason.UPDATING, decision.sentence)
        return RolloutState(verdict, in_force.template_hash, in_force.operator_version)
    return RolloutState(
        _rolled_back(choice) if choice.course is Course.BACK else _held(in_force, new),
        in_force.template_hash,
        in_force.operator_version,
        pending=new.template_hash,
        plan=in_force.plan,
    )


def _rolled_back(choice: Choice) -> Verdict:
    cause = choice.failure.cause.rstrip(".") if choice.failure is not None else "unknown"
    return Verdict.false(
        Reason.ROLLED_BACK,
        f"the rollout did not succeed within its deadline ({cause}), so the pods are again those that last"
        " served. Edit the spec to try again",
    )


def _held(in_force: Revision, new: Revision) -> Verdict:
    if in_force.operator_version == new.operator_version:
        who = "the operator's settings or the cluster's nodes have changed since the pods were rendered"
    else:
        who = f"operator {in_force.operator_version} rendered the pods, and {new.operator_version} runs now"
    return Verdict.false(
        Reason.OPERATOR_CHANGED,
        f"{who}: they would be rendered otherwise today. They stay as they are until the spec is edited;"
        " rollout.upgradePolicy Automatic lets them follow by themselves",
    )
