"""What the cluster has to offer: values that planning chooses from, read off Node manifests by a pure
function."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gemma_operator.api.quantity import QuantityError, parse_bytes, parse_millicores
from gemma_operator.catalog.catalog import Catalog

GKE_LABEL = "cloud.google.com/gke-accelerator"
GFD_LABEL = "nvidia.com/gpu.product"
INSTANCE_LABEL = "node.kubernetes.io/instance-type"
ARCHITECTURE_LABEL = "kubernetes.io/arch"
GPU_RESOURCE = "nvidia.com/gpu"
MIG_PREFIX = "nvidia.com/mig-"
SHARED_SUFFIX = "-SHARED"
"""GPU Feature Discovery appends it where a device is time-sliced."""


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """One shape of node that is present (or that an autoscaler can add)."""

    accelerator: str | None
    """Catalogue key, or None for a node without accelerators."""
    count: int
    """Accelerators per node."""
    cpu_millicores: int
    """Allocatable."""
    memory_bytes: int
    """Allocatable."""
    architecture: str = "amd64"


@dataclass(frozen=True, slots=True)
class Inventory:
    """Distinct node shapes of the cluster. An empty inventory (offline planning) offers the whole
    catalogue."""

    offers: tuple[NodeOffer, ...] = field(default=())


def inventory_from_nodes(nodes: Iterable[Mapping[str, Any]], catalog: Catalog) -> Inventory:
    """Distinct shapes of the given Node manifests, in a stable order. Unschedulable nodes offer nothing."""
    offers: set[NodeOffer] = set()
    for node in nodes:
        if not (node.get("spec") or {}).get("unschedulable"):
            offers.update(_offers_of(node, catalog))
    return Inventory(
        tuple(sorted(offers, key=lambda o: (o.accelerator or "", o.count, o.cpu_millicores, o.memory_bytes)))
    )


def _offers_of(node: Mapping[str, Any], catalog: Catalog) -> list[NodeOffer]:
    labels: Mapping[str, str] = (node.get("metadata") or {}).get("labels") or {}
    allocatable: Mapping[str, str] = (node.get("status") or {}).get("allocatable") or {}
    cpu = _quantity(parse_millicores, allocatable.get("cpu"))
    memory = _quantity(parse_bytes, allocatable.get("memory"))
    architecture = labels.get(ARCHITECTURE_LABEL, "amd64")
    offers = [NodeOffer(None, 0, cpu, memory, architecture)]
    device = _device(labels, catalog)
    if device is None:
        return offers
    for resource, amount in allocatable.items():
        count = _quantity(parse_bytes, amount) if resource.startswith("nvidia.com/") else 0
        if resource == GPU_RESOURCE and count:
            offers.append(NodeOffer(device, count, cpu, memory, architecture))
        partition = f"{device}-mig-{resource.removeprefix(MIG_PREFIX)}"
        if resource.startswith(MIG_PREFIX) and count and partition in catalog.accelerators:
            offers.append(NodeOffer(partition, count, cpu, memory, architecture))
    return offers


def _device(labels: Mapping[str, str], catalog: Catalog) -> str | None:
    """Catalogue key of the node's accelerator, from GKE's label, GPU Feature Discovery, or the instance
    type."""
    found = catalog.accelerator(labels.get(GKE_LABEL, ""))
    if found is not None:
        return found[0]
    product = labels.get(GFD_LABEL, "").removesuffix(SHARED_SUFFIX)
    instance = labels.get(INSTANCE_LABEL, "")
    for key, row in catalog.accelerators.items():
        if product and product in row.gfd_products:
            return key
        if instance and any(instance.startswith(prefix) for prefix in row.instance_types):
            return key
    return None


def _quantity(parse: Any, text: str | None) -> int:
    """A quantity of a node; an unreadable one counts as nothing."""
    if text is None:
        return 0
    try:
        return int(parse(text))
    except QuantityError:
        return 0
