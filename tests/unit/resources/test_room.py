from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.resources.room import Space, requests_of, room_for

POOL_LABELS = ("karpenter.sh/nodepool",)
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def node(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Manifest:
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}},
    }


def pod_spec(gpus: int = 1, **more: Any) -> Manifest:
    requests = {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": str(gpus)}
    return {"containers": [{"name": "triton", "resources": {"requests": requests}}], **more}


def pod_on(name: str, gpus: int = 1, phase: str = "Running") -> Manifest:
    return {"kind": "Pod", "spec": {"nodeName": name, **pod_spec(gpus)}, "status": {"phase": phase}}


def space(nodes: list[Manifest], pods: list[Manifest], spec: Manifest | None = None) -> Space:
    return room_for(spec or pod_spec(), nodes, pods, POOL_LABELS).space


def test_a_free_accelerator_is_room() -> None:
    assert space([node("a")], [pod_on("a")]) is Space.FREE


def test_a_node_whose_accelerators_are_requested_is_full() -> None:
    assert space([node("a")], [pod_on("a"), pod_on("a")]) is Space.FULL


def test_finished_pods_hold_nothing() -> None:
    assert space([node("a")], [pod_on("a", 2, "Succeeded")]) is Space.FREE


def test_cpu_counts_as_an_accelerator_does() -> None:
    wanted = {"containers": [{"name": "triton", "resources": {"requests": {"cpu": "7500m"}}}]}
    assert space([node("a")], [pod_on("a")], wanted) is Space.FULL


@pytest.mark.parametrize("labels", [{"karpenter.sh/nodepool": "gpu"}], ids=["karpenter"])
def test_a_full_pool_that_an_autoscaler_enlarges_can_grow(labels: dict[str, str]) -> None:
    assert space([node("a", labels)], [pod_on("a", 2)]) is Space.GROWABLE


def test_nodes_that_the_pod_may_not_use_offer_no_room() -> None:
    selecting = pod_spec(nodeSelector=L4)
    assert space([node("a")], [], selecting) is Space.FULL
    assert space([node("a", L4)], [], selecting) is Space.FREE
    assert space([node("a", L4, unschedulable=True)], [], selecting) is Space.FULL
    assert space([node("a", L4, taints=[GPU_TAINT])], [], selecting) is Space.FULL
    tolerating = {**selecting, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
    assert space([node("a", L4, taints=[GPU_TAINT])], [], tolerating) is Space.FREE


def test_the_largest_init_container_counts_where_it_is_more() -> None:
    spec = pod_spec(initContainers=[{"name": "weights", "resources": {"requests": {"cpu": "3"}}}])
    assert requests_of(spec) == {"cpu": 3000, "memory": 4 * 1024**3 * 1000, "nvidia.com/gpu": 1000}


def test_a_limit_without_a_request_is_a_request() -> None:
    assert requests_of({"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}) == {
        "nvidia.com/gpu": 2000
    }
