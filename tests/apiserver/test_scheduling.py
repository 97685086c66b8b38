"""Every shape of pod finds a node of the hardware that it was planned for.

The nodes are objects without a kubelet: capacity, labels and taints as such machines have them. The
scheduler is the real one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.test_rendered_objects import SHAPES, apply, pods_of, rendered
from gemma_devcluster.kubectl import Kubectl

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
SCHEDULING_TIMEOUT = "60s"


def machine(name: str, pod: dict[str, Any]) -> dict[str, Any]:
    """A node as the pod's plan expects it: labels, taints, accelerators; with room to spare otherwise."""
    requests = pod["spec"]["containers"][0]["resources"]["requests"]
    devices = {key: value for key, value in requests.items() if key.startswith("nvidia.com/")}
    labels = pod["spec"].get("nodeSelector", {})
    taints = [GPU_TAINT] if devices else []
    if labels.get("kubernetes.io/arch") == "arm64":
        taints.append({"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {"taints": taints},
        "status": {
            "capacity": {
                "cpu": "64",
                "memory": "512Gi",
                "ephemeral-storage": "1Ti",
                "pods": "32",
                **devices,
            },
            "conditions": [{"type": "Ready", "status": "True", "reason": "Simulated", "message": ""}],
        },
    }


@pytest.fixture(scope="module")
def shapes(
    control_plane: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, str]]]:
    """Shape to (namespace, pod); all nodes and pods exist."""
    kubectl: Kubectl = control_plane.kubectl
    namespace = "shapes"
    kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    pods, nodes = {}, []
    for shape in SHAPES:
        (pod,) = pods_of(rendered(shape, namespace))
        pods[shape.stem] = pod
        nodes.append(machine(f"node-{shape.stem}", pod))
    try:
        for node in nodes:
            apply(kubectl, [node])
            patch = json.dumps({"status": {**node["status"], "allocatable": node["status"]["capacity"]}})
            name = node["metadata"]["name"]
            kubectl.run("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)
        apply(kubectl, list(pods.values()))
        yield {stem: (namespace, pod["metadata"]["name"]) for stem, pod in pods.items()}
    finally:
        kubectl.run("delete", "pods", "--all", "-n", namespace, "--force", "--grace-period=0")
        kubectl.run("delete", "namespace", namespace, "--wait=false")
        names = [node["metadata"]["name"] for node in nodes]
        kubectl.run("delete", "nodes", "--ignore-not-found", *names)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda path: path.stem)
def test_pod_is_scheduled_on_the_hardware_it_was_planned_for(
    kubectl: Kubectl, shapes: dict[str, tuple[str, str]], shape: Path
) -> None:
    namespace, pod = shapes[shape.stem]
    kubectl.run(
        "wait",
        f"pod/{pod}",
        "-n",
        namespace,
        "--for=condition=PodScheduled",
        f"--timeout={SCHEDULING_TIMEOUT}",
    )
    answer = json.loads(kubectl.run("get", "pod", pod, "-n", namespace, "-o", "json"))
    asked = answer["spec"].get("nodeSelector", {})
    node = json.loads(kubectl.run("get", "node", answer["spec"]["nodeName"], "-o", "json"))
    assert asked.items() <= node["metadata"]["labels"].items()
    devices = answer["spec"]["containers"][0]["resources"]["requests"]
    assert {k: v for k, v in devices.items() if k.startswith("nvidia.com/")}.items() <= node["status"][
        "capacity"
    ].items()
