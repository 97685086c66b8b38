"""Children of a GemmaDeployment as the API server shows them."""

from typing import Any

from gemma_operator.api.manifest import CLAIM_ANNOTATION, WEIGHTS_LABEL, Manifest
from support.plans import HUB_WEIGHTS, OWNER

EARLIER, NOW, LATER = "2026-11-25T02:00:00Z", "2026-11-25T03:00:00Z", "2026-11-25T04:00:00Z"
MEMORY_LIMIT = "2Gi"


def controlled_by(kind: str, uid: str) -> list[Manifest]:
    return [{"apiVersion": "v1", "kind": kind, "name": uid, "uid": uid, "controller": True}]


def deployment(
    *, desired: int = 1, owner_uid: str = OWNER.uid, generation: int = 1, **status: Any
) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "assistant",
            "namespace": "team-a",
            "uid": "deployment",
            "generation": generation,
            "ownerReferences": controlled_by("GemmaDeployment", owner_uid),
        },
        "spec": {"replicas": desired},
        "status": {"observedGeneration": 1, **status},
    }


def serving(count: int = 1) -> Manifest:
    """A Deployment all of whose replicas take requests."""
    return deployment(
        desired=count, replicas=count, updatedReplicas=count, readyReplicas=count, availableReplicas=count
    )


def replica_set(template: str = "new", revision: int = 2, **status: Any) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"assistant-{template}",
            "namespace": "team-a",
            "uid": f"replicaset-{template}",
            "labels": {"pod-template-hash": template},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": controlled_by("Deployment", "deployment"),
        },
        "status": status,
    }


def pod(
    name: str = "assistant-new-a", template: str = "new", owner: str | None = None, **parts: Any
) -> Manifest:
    """A serving pod; `parts` are `conditions`, `containers`, `init`, `phase`, `reason`, `message`, `spec`."""
    status: Manifest = {
        "phase": parts.get("phase", "Pending"),
        "conditions": parts.get("conditions", [condition("Ready", "False", at=EARLIER)]),
        "initContainerStatuses": parts.get("init", []),
        "containerStatuses": parts.get("containers", []),
    }
    status |= {key: parts[key] for key in ("reason", "message") if key in parts}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": f"pod-{name}",
            "labels": {"pod-template-hash": template},
            "creationTimestamp": EARLIER,
            "ownerReferences": controlled_by("ReplicaSet", owner or f"replicaset-{template}"),
        },
        "spec": {
            "containers": [
                {"name": name, "resources": {"limits": {"memory": MEMORY_LIMIT}}}
                for name in ("triton", "gateway")
            ],
            **parts.get("spec", {}),
        },
        "status": status,
    }


def condition(kind: str, status: str, message: str = "", at: str = EARLIER) -> Manifest:
    return {"type": kind, "status": status, "message": message, "lastTransitionTime": at}


def unscheduled(message: str) -> Manifest:
    return {**condition("PodScheduled", "False", message), "reason": "Unschedulable"}


def waiting(name: str, reason: str, message: str = "", last: Manifest | None = None) -> Manifest:
    return container(name, {"waiting": {"reason": reason, "message": message}}, last)


def running(name: str, since: str = NOW, last: Manifest | None = None) -> Manifest:
    return container(name, {"running": {"startedAt": since}}, last)


def ended(name: str, exit_code: int, message: str = "", reason: str | None = None) -> Manifest:
    return container(name, {"terminated": end(exit_code, message, reason)})


def end(exit_code: int, message: str = "", reason: str | None = None) -> Manifest:
    return {
        "exitCode": exit_code,
        "reason": reason or ("Error" if exit_code else "Completed"),
        "message": message,
    }


def container(name: str, state: Manifest, last: Manifest | None = None) -> Manifest:
    status: Manifest = {"name": name, "state": state, "restartCount": 0 if last is None else 2}
    if last is not None:
        status["lastState"] = {"terminated": last}
    return status


def job(name: str = "assistant-weights-1", *, created: str = EARLIER, **status: Any) -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": f"job-{name}",
            "creationTimestamp": created,
            "labels": {WEIGHTS_LABEL: HUB_WEIGHTS.key},
            "annotations": {CLAIM_ANNOTATION: "assistant-weights"},
            "ownerReferences": controlled_by("GemmaDeployment", OWNER.uid),
        },
        "status": status,
    }


def job_pod(*containers: Manifest, of: str = "assistant-weights-1", **parts: Any) -> Manifest:
    fetching = pod(f"{of}-x", template="", owner=f"job-{of}", containers=list(containers), **parts)
    fetching["spec"] = {
        "containers": [{"name": "weights", "resources": {"limits": {"memory": MEMORY_LIMIT}}}],
    }
    return fetching


def claim(phase: str = "Pending") -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "assistant-weights",
            "namespace": "team-a",
            "uid": "claim",
            "ownerReferences": controlled_by("GemmaDeployment", OWNER.uid),
        },
        "status": {"phase": phase},
    }


def warning(about: Manifest, reason: str, message: str, at: str = NOW) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "involvedObject": {"uid": about["metadata"]["uid"]},
    }
