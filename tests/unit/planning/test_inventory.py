"""Node manifests to offers: labels of GKE, GPU Feature Discovery and the clouds' instance types."""

from tests.support.planning import CATALOG, cluster, node

from gemma_operator.api.quantity import GIB
from gemma_operator.planning.inventory import NodeOffer, inventory_from_nodes


def accelerators(*nodes: dict[str, object]) -> set[tuple[str, int]]:
    return {(o.accelerator, o.count) for o in cluster(*nodes).offers if o.accelerator}


def test_gke_names_its_accelerator_by_label() -> None:
    labels = {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}
    assert accelerators(node(gpu="8", labels=labels)) == {("nvidia-a100-40gb", 8)}


def test_feature_discovery_names_the_product() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L40S"}
    assert accelerators(node(gpu="4", labels=labels)) == {("nvidia-l40s", 4)}


def test_shared_products_are_the_same_device() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4-SHARED"}
    assert accelerators(node(gpu="2", labels=labels)) == {("nvidia-l4", 2)}


def test_instance_types_of_other_clouds_tell() -> None:
    labels = {"node.kubernetes.io/instance-type": "g6.2xlarge"}
    assert accelerators(node(gpu="1", labels=labels)) == {("nvidia-l4", 1)}


def test_partitions_are_offers_of_their_own() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    found = accelerators(node(labels=labels, **{"nvidia.com/mig-1g.10gb": "7"}))
    assert found == {("nvidia-h100-80gb-mig-1g.10gb", 7)}


def test_a_label_without_the_resource_offers_no_accelerator() -> None:
    labels = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert accelerators(node(labels=labels)) == set()


def test_cordoned_nodes_offer_nothing() -> None:
    assert cluster({**node(), "spec": {"unschedulable": True}}).offers == ()


def test_equal_nodes_are_one_offer_in_a_stable_order() -> None:
    small, large = node(memory="8Gi"), node(memory="64Gi")
    first, second = cluster(large, small, small), cluster(small, large)
    assert first == second
    assert first.offers[0] == NodeOffer(None, 0, 8000, 8 * GIB, "amd64")


def test_a_broken_node_counts_as_empty() -> None:
    offers = inventory_from_nodes(
        [{}, {"status": {"allocatable": {"cpu": "much", "memory": None}}}], CATALOG
    ).offers
    assert offers == (NodeOffer(None, 0, 0, 0, "amd64"),)
