"""Manifests of the test pods and what to ask of them."""

import socket
from typing import Any

from gemma_devcluster.cluster import Cluster
from gemma_devcluster.waiting import await_value

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SERVICE_SECONDS = 20.0
READY_TIMEOUT = "--timeout=60s"

Manifest = dict[str, Any]


def namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}


def pod(name: str, image: str, **spec: Any) -> Manifest:
    """A pod that Pod Security `restricted` admits, serving HTTP on 8080; `spec` adds to the pod's spec."""
    container = {
        "name": "probe",
        "image": image,
        "args": ["serve"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "resources": spec.pop("resources", {}),
        "volumeMounts": spec.pop("volumeMounts", []),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [container],
            "securityContext": security,
            "terminationGracePeriodSeconds": 0,
            **spec,
        },
    }


def service(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


def run_ready(cluster: Cluster, in_namespace: str, *manifests: Manifest) -> None:
    """Apply and return when every pod of the namespace is Ready and every Service takes connections."""
    kubectl = cluster.kubectl
    kubectl.apply([namespace(in_namespace)])
    kubectl.apply([{**m, "metadata": {**m["metadata"], "namespace": in_namespace}} for m in manifests])
    await_ready(cluster, in_namespace)


def await_ready(cluster: Cluster, in_namespace: str) -> None:
    """Return when every pod of the namespace is Ready and every Service takes connections."""
    kubectl = cluster.kubectl
    kubectl.run("-n", in_namespace, "wait", "pod", "--all", "--for=condition=Ready", READY_TIMEOUT)
    for each in kubectl.get("services", "-n", in_namespace)["items"]:
        address = each["spec"]["clusterIP"]
        await_value(lambda address=address: connects(address) or None, SERVICE_SECONDS, f"Service {address}")


def connects(address: str) -> bool:
    """Whether port 80 of a Service takes a connection from this machine."""
    try:
        with socket.create_connection((address, 80), timeout=1):
            return True
    except OSError:
        return False


def probe(cluster: Cluster, in_namespace: str, pod_name: str, *arguments: str) -> str:
    """What the probe in a running pod prints for these arguments."""
    return cluster.kubectl.run("-n", in_namespace, "exec", pod_name, "--", "/probe", *arguments)
