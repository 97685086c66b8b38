"""What is there: the children of one GemmaDeployment, reduced to what conditions are decided from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gemma_operator.api.manifest import (
    CLAIM_ANNOTATION,
    SERVING,
    WEIGHTS_LABEL,
    Manifest,
    Owner,
    controller_uid,
    is_of,
)
from gemma_operator.api.reasons import Reason
from gemma_operator.status import growth
from gemma_operator.status.adapters import PodAdapters
from gemma_operator.status.pods import (
    PROBE_FAILED,
    Complaint,
    FetchReport,
    Trouble,
    trouble_of,
    weights_fetch,
)
from gemma_operator.status.progress import Progress
from gemma_operator.status.scaling import ScalingState
from gemma_operator.status.startup import Startup, startup_of
from gemma_operator.status.verdict import Verdict

_REVISION_ANNOTATION = "deployment.kubernetes.io/revision"
_TEMPLATE_HASH_LABEL = "pod-template-hash"
_TELLING_EVENTS = frozenset(
    {
        "FailedMount",
        "FailedAttachVolume",
        "FailedMapVolume",
        "FailedCreatePodSandBox",
        "ProvisioningFailed",
        "FailedCreate",
        PROBE_FAILED,
        *growth.EVENTS,
    }
)
"""Reasons of Events whose message stands nowhere in the status of the object itself."""


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """The Deployment and its newest ReplicaSet."""

    desired: int
    """Pods its spec asks for."""
    replicas: int
    """Pods that exist, of any template."""
    updated: int
    """Pods of the current template."""
    ready: int
    """Pods that take requests, of any template."""
    is_settled: bool
    """Whether its controller has seen its current spec."""
    is_first: bool = field(default=False)
    """Whether its controller has seen none yet: pods that are there already are its first."""
    rejection: str | None = field(default=None)
    """Why the API server refuses to create pods."""
    stalled: str | None = field(default=None)
    """Message of a rollout past its progress deadline."""


@dataclass(frozen=True, slots=True)
class PodState:
    """One serving pod."""

    name: str
    is_current: bool
    """Whether it is made from the newest template."""
    is_ready: bool
    is_terminating: bool
    fetch: FetchReport | None
    """How its own weights are, when it fetches them itself."""
    trouble: Trouble | None
    """Why it is not ready, beyond still loading."""
    created: str
    ready_since: str | None
    """Since when it takes requests; None while it does not."""
    startup: Startup | None = field(default=None)
    """How long each phase took, of a pod that serves since its first start."""


@dataclass(frozen=True, slots=True)
class JobState:
    """One weights Job."""

    name: str
    key: str
    """Which weights it fetches."""
    claim_name: str
    created: str
    is_complete: bool
    failure: str | None
    """Message of a Job that has given up."""
    fetch: FetchReport | None
    """Of its newest pod."""
    trouble: Trouble | None
    """Why its pod does not run."""


@dataclass(frozen=True, slots=True)
class ClaimState:
    """One claim of ours."""

    name: str
    is_bound: bool
    message: str | None
    """The provisioner's latest complaint."""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Which rendering is in force, and how it stands to what the spec asks for."""

    verdict: Verdict
    template_hash: str
    """Of the pods in force."""
    operator_version: str
    """That first rendered them."""
    pending: str | None = field(default=None)
    """Hash of the template that this operator would render, where another is in force."""
    plan: Manifest | None = field(default=None)
    """`status.plan` of the pods in force, where another than the spec's is."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that is there for one owner."""

    owner: Owner
    deployment: DeploymentState | None = field(default=None)
    pods: tuple[PodState, ...] = field(default=())
    jobs: tuple[JobState, ...] = field(default=())
    claims: tuple[ClaimState, ...] = field(default=())
    rollout: RolloutState | None = field(default=None)
    """None where nothing was rendered."""
    scaling: ScalingState | None = field(default=None)
    """None where replicas are a fixed number."""
    progress: Progress | None = field(default=None)
    """Of the fetch that goes on; None where none does, or none has said anything."""
    adapters: tuple[PodAdapters, ...] = field(default=())
    """What the ready pods of the newest template say of theirs."""


def observe(
    owner: Owner,
    children: Sequence[Manifest],
    events: Sequence[Manifest] = (),
    nodes: Sequence[Manifest] = (),
) -> Observed:
    """Reduce children (Deployment, ReplicaSets, Jobs, claims, pods) and their Events to an Observed.

    `nodes` are those of the cluster, which say why a pod has none of them.

    Children must hold what this reconcile has just applied, as the API server answered it: only so is a
    Deployment whose rollout has yet to begin told from one that is done. Objects that do not descend from
    this owner are ignored: descent goes by uid, through ReplicaSet and Job. What keeps weights is shared.
    """
    own = [child for child in children if is_of(child, owner.uid)]
    complaints = _complaints(events)
    deployment = next((child for child in own if child["kind"] == "Deployment"), None)
    replica_sets = _controlled(children, "ReplicaSet", [deployment] if deployment is not None else [])
    newest = max(replica_sets, key=_revision, default=None)
    pods = _controlled(children, "Pod", replica_sets)
    jobs = [child for child in own if child["kind"] == "Job"]
    return Observed(
        owner=owner,
        deployment=None if deployment is None else _deployment_state(deployment, newest),
        pods=tuple(_pod_state(pod, newest, complaints, nodes) for pod in sorted(pods, key=_name)),
        jobs=tuple(
            _job_state(job, _controlled(children, "Pod", [job]), complaints)
            for job in sorted(jobs, key=_name)
        ),
        claims=tuple(
            _claim_state(child, complaints)
            for child in sorted(own, key=_name)
            if child["kind"] == "PersistentVolumeClaim"
        ),
    )


def condition_of(manifest: Manifest, kind: str) -> Manifest | None:
    """The object's own condition of a type."""
    conditions = _status(manifest).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), None)


def _deployment_state(deployment: Manifest, newest: Manifest | None) -> DeploymentState:
    status = _status(deployment)
    progressing = condition_of(deployment, "Progressing")
    is_stalled = progressing is not None and progressing["status"] == "False"
    return DeploymentState(
        desired=deployment["spec"].get("replicas", 1),
        replicas=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        is_settled=status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1),
        is_first="observedGeneration" not in status,
        rejection=_rejection(deployment) or (_rejection(newest) if newest is not None else None),
        stalled=progressing.get("message", "") if progressing is not None and is_stalled else None,
    )


def _rejection(manifest: Manifest) -> str | None:
    condition = condition_of(manifest, "ReplicaFailure")
    return condition.get("message", "") if condition is not None and condition["status"] == "True" else None


def _pod_state(
    pod: Manifest,
    newest: Manifest | None,
    complaints: Mapping[str, Complaint],
    nodes: Sequence[Manifest],
) -> PodState:
    ready = condition_of(pod, "Ready")
    is_ready = ready is not None and ready["status"] == "True"
    complaint = complaints.get(pod["metadata"]["uid"])
    return PodState(
        name=_name(pod),
        is_current=newest is not None and _template_hash(pod) == _template_hash(newest),
        is_ready=is_ready,
        is_terminating="deletionTimestamp" in pod["metadata"],
        fetch=weights_fetch(pod),
        trouble=None if is_ready else trouble_of(pod, SERVING, complaint, nodes),
        created=_created(pod),
        ready_since=ready.get("lastTransitionTime") if ready is not None and is_ready else None,
        startup=startup_of(pod) if is_ready else None,
    )


def _job_state(job: Manifest, pods: Sequence[Manifest], complaints: Mapping[str, Complaint]) -> JobState:
    metadata = job["metadata"]
    pod = max(pods, key=_created, default=None)
    failed, complete = condition_of(job, "Failed"), condition_of(job, "Complete")
    complaint = complaints.get(metadata["uid"])
    trouble = (
        None if complaint is None or pod is not None else Trouble(Reason.PODS_REJECTED, complaint.message)
    )
    return JobState(
        name=_name(job),
        key=(metadata.get("labels") or {}).get(WEIGHTS_LABEL, ""),
        claim_name=(metadata.get("annotations") or {}).get(CLAIM_ANNOTATION, ""),
        created=_created(job),
        is_complete=complete is not None and complete["status"] == "True",
        failure=failed.get("message", "") if failed is not None and failed["status"] == "True" else None,
        fetch=None if pod is None else weights_fetch(pod),
        trouble=trouble
        if pod is None
        else trouble_of(pod, "weights", complaints.get(pod["metadata"]["uid"])),
    )


def _claim_state(claim: Manifest, complaints: Mapping[str, Complaint]) -> ClaimState:
    complaint = complaints.get(claim["metadata"]["uid"])
    return ClaimState(
        name=_name(claim),
        is_bound=_status(claim).get("phase") == "Bound",
        message=complaint.message if complaint is not None else None,
    )


def _complaints(events: Iterable[Manifest]) -> dict[str, Complaint]:
    """The latest Event for each object that says what nothing else does, by uid."""
    warnings = [event for event in events if event.get("reason") in _TELLING_EVENTS]
    failed = {event["involvedObject"]["uid"] for event in warnings if event["reason"] == growth.FAILED}
    warnings = [
        event
        for event in warnings
        if event["involvedObject"]["uid"] not in failed or not growth.is_echo(event)
    ]
    latest = sorted(warnings, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return {
        event["involvedObject"]["uid"]: Complaint(event["reason"], event.get("message", ""))
        for event in latest
    }


def _controlled(children: Iterable[Manifest], kind: str, owners: Iterable[Manifest]) -> list[Manifest]:
    uids = {owner["metadata"]["uid"] for owner in owners}
    return [child for child in children if child["kind"] == kind and controller_uid(child) in uids]


def _status(manifest: Manifest) -> Manifest:
    return manifest.get("status") or {}


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def _created(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("creationTimestamp", ""))


def _revision(replica_set: Manifest) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(_REVISION_ANNOTATION, 0))


def _template_hash(manifest: Manifest) -> str | None:
    return (manifest["metadata"].get("labels") or {}).get(_TEMPLATE_HASH_LABEL)
