"""What a fresh cluster is given through its API: rights of the components, DNS, the StorageClass."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from gemma_devcluster.addresses import Addresses
from gemma_devcluster.configs import corefile

Manifest = dict[str, Any]

STORAGE_CLASS = "standard"
STORAGE_DRIVER = "gemma-operator.dev/devcluster-directory"
DNS_LABELS = {"k8s-app": "kube-dns"}
# Another Corefile is another pod: CoreDNS reads its file once.
COREFILE_HASH = "devcluster.gemma-operator.dev/corefile"
_RBAC = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")

# What kube-router's own firewall manifest asks for (its v2.1.0 daemonset/), without leases and status writes.
KUBE_ROUTER_RULES = (
    ("", ("namespaces", "pods", "services", "nodes", "endpoints"), _READ),
    ("networking.k8s.io", ("networkpolicies",), _READ),
    ("discovery.k8s.io", ("endpointslices",), _READ),
)
# sig-storage-lib-external-provisioner's needs.
PROVISIONER_RULES = (
    ("", ("persistentvolumes",), (*_READ, "create", "delete", "patch", "update")),
    ("", ("persistentvolumeclaims",), (*_READ, "update")),
    ("", ("nodes",), _READ),
    ("", ("events",), ("create", "update", "patch")),
    ("storage.k8s.io", ("storageclasses",), _READ),
)
COREDNS_RULES = (
    ("", ("services", "pods", "namespaces"), ("list", "watch")),
    ("discovery.k8s.io", ("endpointslices",), ("list", "watch")),
)

Rules = Sequence[tuple[str, Sequence[str], Sequence[str]]]


def bootstrap(addresses: Addresses, coredns_image: str) -> list[Manifest]:
    """Every object, in the order of applying."""
    user = {"kind": "User", "apiGroup": _RBAC}
    dns_account = {"kind": "ServiceAccount", "namespace": "kube-system", "name": "coredns"}
    return [
        binding("devcluster:kube-proxy", "system:node-proxier", {**user, "name": "system:kube-proxy"}),
        *granted("devcluster:kube-router", KUBE_ROUTER_RULES, {**user, "name": "devcluster:kube-router"}),
        *granted("devcluster:provisioner", PROVISIONER_RULES, {**user, "name": "devcluster:provisioner"}),
        storage_class(),
        *granted("devcluster:coredns", COREDNS_RULES, dns_account),
        *coredns(addresses, coredns_image),
    ]


def binding(name: str, role: str, subject: Mapping[str, str]) -> Manifest:
    """A ClusterRoleBinding of `role` to one subject."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [dict(subject)],
    }


def granted(name: str, rules: Rules, subject: Mapping[str, str]) -> list[Manifest]:
    """A ClusterRole and its binding, both called `name`."""
    role = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"apiGroups": [g], "resources": list(r), "verbs": list(v)} for g, r, v in rules],
    }
    return [role, binding(name, name, subject)]


def storage_class() -> Manifest:
    """The default class; a claim is bound when its first pod is scheduled."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": STORAGE_DRIVER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def coredns(addresses: Addresses, image: str) -> list[Manifest]:
    """The cluster's DNS as pods in kube-system, so that NetworkPolicies can name them as everywhere else."""
    metadata = {"name": "coredns", "namespace": "kube-system", "labels": DNS_LABELS}
    ports = [
        {"name": n, "port": 53, "targetPort": 53, "protocol": p}
        for n, p in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"Corefile": corefile(addresses)},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": DNS_LABELS},
                "template": {
                    "metadata": {
                        "labels": DNS_LABELS,
                        "annotations": {COREFILE_HASH: digest(corefile(addresses))},
                    },
                    "spec": _coredns_pod(image),
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "name": "kube-dns"},
            "spec": {"clusterIP": str(addresses.dns_service), "selector": DNS_LABELS, "ports": ports},
        },
    ]


def digest(text: str) -> str:
    """What a pod is annotated with, so that another configuration is another pod."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _coredns_pod(image: str) -> Manifest:
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        # The usual limit is 1 s: where all cores are taken, names would go, and the pod be started again.
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": 8181},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
        },
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": 8081},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 5,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    return {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
