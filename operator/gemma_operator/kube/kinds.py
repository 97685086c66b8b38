"""The kinds of object that the operator touches, what it may do with each, and what it remembers of each.

`rbac_rules` is the whole of the permissions: the chart's ClusterRole is tested against it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemma_operator.api.base import API_VERSION, KIND, PLURAL
from gemma_operator.api.manifest import MANAGED_BY_LABEL, MANAGER, Manifest

_OBJECT = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "deletionTimestamp",
    "creationTimestamp",
)
_MINE = f"{MANAGED_BY_LABEL}={MANAGER}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    api_version: str
    name: str
    plural: str
    verbs: tuple[str, ...]
    """What the operator does with it."""
    keep: tuple[str, ...] = ("spec", "status")
    """Fields, or `field.subfield`, that the index remembers beside metadata."""
    reduce: Callable[[Manifest], Manifest] | None = None
    """Applied before `keep`, where a field is large and little of it is used."""
    namespaced: bool = True
    label_selector: str = _MINE
    """Of the watch: objects of others cost neither memory nor traffic."""
    field_selector: str = ""
    optional: bool = False
    """Of an API that a cluster may have or not, and that may come and go."""

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, or of one object or its subresource."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/".join(parts)


_WATCHED = ("list", "watch")
_CHILD = (*_WATCHED, "create", "patch", "delete")


def _without_pod_template(manifest: Manifest) -> Manifest:
    """Pods and ReplicaSets carry the whole template; kept is what messages, pruning and rollouts use."""
    spec = manifest.get("spec") or {}
    kept = {name: spec[name] for name in ("nodeName", "nodeSelector", "replicas") if name in spec}
    for name in ("initContainers", "containers"):
        if name in spec:
            kept[name] = [_resources(container) for container in spec[name]]
    if "volumes" in spec:
        kept["volumes"] = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    return {**manifest, "spec": kept}


def _in_core_words(event: Manifest) -> Manifest:
    """An Event of events.k8s.io as the core API words it."""
    return {
        **event,
        "message": event.get("note"),
        "involvedObject": event.get("regarding"),
        "lastTimestamp": event.get("deprecatedLastTimestamp"),
    }


def _resources(container: Manifest) -> Manifest:
    """Limits for messages about memory, requests for the room that is left on a node."""
    resources = container.get("resources") or {}
    kept = {part: resources[part] for part in ("limits", "requests") if resources.get(part)}
    return {"name": container["name"], "resources": kept}


GEMMA_DEPLOYMENT = Kind(API_VERSION, KIND, PLURAL, _WATCHED, label_selector="")
NODE = Kind(
    "v1",
    "Node",
    "nodes",
    _WATCHED,
    keep=("spec.taints", "spec.unschedulable", "status.allocatable", "status.nodeInfo"),
    namespaced=False,
    label_selector="",
)
POD = Kind("v1", "Pod", "pods", (*_WATCHED, "patch"), reduce=_without_pod_template)
"""Patched in its labels only: whether it is scraped must not take a new pod."""
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets", _WATCHED, reduce=_without_pod_template)
WARNING = Kind(
    "v1",
    "Event",
    "events",
    _WATCHED,
    keep=("type", "reason", "message", "involvedObject", "lastTimestamp", "eventTime"),
    label_selector="",
    field_selector="type=Warning,reason!=FailedScheduling,reason!=BackOff",
)
"""What the kubelet and the controllers complain of; only complaints about known objects are remembered. The
two left out stand in the pod's own status, and are repeated for as long as the pod waits."""
ANNOUNCEMENT = Kind(
    "events.k8s.io/v1",
    "Event",
    "events",
    (*_WATCHED, "create"),
    keep=("type", "reason", "message", "involvedObject", "lastTimestamp", "eventTime"),
    reduce=_in_core_words,
    label_selector="",
    field_selector="reportingController=cluster-autoscaler,type=Normal",
)
"""Made: transitions of a GemmaDeployment's conditions. Followed: that the cluster autoscaler adds a node for
a pod, or why it does not; it warns only of nodes that it tried to add. By the newer of the two APIs, so that
a list of these takes away none of WARNING."""

HORIZONTAL_POD_AUTOSCALER = Kind(
    "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", _CHILD
)
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", _CHILD, optional=True)
AUTOSCALING_METRIC = Kind(
    "autoscaling.gke.io/v1beta1",
    "AutoscalingMetric",
    "autoscalingmetrics",
    _CHILD,
    keep=("spec",),
    optional=True,
)
HTTP_ROUTE = Kind(
    "gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", _CHILD, keep=("spec",), optional=True
)
INFERENCE_POOL = Kind(
    "inference.networking.k8s.io/v1",
    "InferencePool",
    "inferencepools",
    _CHILD,
    keep=("spec",),
    optional=True,
)

CHILD_KINDS = (
    Kind("v1", "ConfigMap", "configmaps", _CHILD, keep=("data",)),
    Kind(
        "v1",
        "ServiceAccount",
        "serviceaccounts",
        _CHILD,
        keep=("automountServiceAccountToken", "imagePullSecrets"),
    ),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", _CHILD),
    Kind("batch/v1", "Job", "jobs", _CHILD),
    Kind("apps/v1", "Deployment", "deployments", _CHILD),
    Kind("v1", "Service", "services", _CHILD, keep=("spec",)),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", _CHILD, keep=("spec",)),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", _CHILD, keep=("spec",)),
    HORIZONTAL_POD_AUTOSCALER,
    SCALED_OBJECT,
    AUTOSCALING_METRIC,
    HTTP_ROUTE,
    INFERENCE_POOL,
)
"""What the operator makes."""

EVENT_KINDS = (WARNING, ANNOUNCEMENT)
"""What others say of an object; remembered where the object is known."""

INDEXED_KINDS = (*CHILD_KINDS, REPLICA_SET, POD, NODE, *EVENT_KINDS)
"""What the operator's own watches follow. GemmaDeployments come through kopf."""

KINDS: Mapping[tuple[str, str], Kind] = {
    (kind.api_version, kind.name): kind for kind in (*INDEXED_KINDS, GEMMA_DEPLOYMENT)
}


def kind_of(manifest: Manifest) -> Kind:
    """The kind of a manifest; KeyError for one that the operator does not handle."""
    return KINDS[manifest["apiVersion"], manifest["kind"]]


def trimmed(kind: Kind, manifest: Manifest) -> Manifest:
    """What the index remembers of an object: identity, labels, owners, and the fields in `kind.keep`."""
    metadata = manifest["metadata"]
    kept: dict[str, Any] = {name: metadata[name] for name in _OBJECT if name in metadata}
    for name in ("labels", "ownerReferences", *(("annotations",) if kind.namespaced else ())):
        if metadata.get(name):
            kept[name] = metadata[name]  # of a node no annotations: agents rewrite them all the time
    if managers := metadata.get("managedFields"):
        # `Cluster.apply` needs to know whether the object was created by POST.
        kept["managedFields"] = [_manager(entry) for entry in managers]
    if kind.reduce is not None:
        manifest = kind.reduce(manifest)
    result: Manifest = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": kept}
    for field in kind.keep:
        top, _, below = field.partition(".")
        value = manifest.get(top)
        if not below:
            if value is not None:
                result[top] = value
        elif value and below in value:
            result.setdefault(top, {})[below] = value[below]
    return result


def _manager(entry: Manifest) -> Manifest:
    """Who manages; of what, only the number of replicas, which an autoscaler may take over."""
    kept: Manifest = {part: entry[part] for part in ("manager", "operation", "subresource") if part in entry}
    if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
        kept["replicas"] = True
    return kept


def rbac_rules(kinds: Iterable[Kind] = tuple(KINDS.values())) -> list[Manifest]:
    """The rules of the ClusterRole (of the Role, for namespaced kinds, where namespaces are fixed)."""
    rules: list[Manifest] = [
        {"apiGroups": [kind.group], "resources": [kind.plural], "verbs": sorted(kind.verbs)} for kind in kinds
    ]
    # How far a fetch of weights is.
    rules.append({"apiGroups": [POD.group], "resources": [f"{POD.plural}/log"], "verbs": ["get"]})
    # finalizers: needed for blockOwnerDeletion where OwnerReferencesPermissionEnforcement is on (OpenShift).
    for subresource, verb in (("status", "patch"), ("finalizers", "update")):
        rules.append(
            {
                "apiGroups": [GEMMA_DEPLOYMENT.group],
                "resources": [f"{GEMMA_DEPLOYMENT.plural}/{subresource}"],
                "verbs": [verb],
            }
        )
    return sorted(rules, key=lambda rule: (rule["apiGroups"], rule["resources"]))
