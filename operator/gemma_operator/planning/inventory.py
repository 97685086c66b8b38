"""What the cluster has to offer: values that planning chooses from, read off Node manifests by a pure function."""

from dataclasses import dataclass, field


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
    """Distinct node shapes of the cluster. An empty inventory (offline planning) offers the whole catalogue."""

    offers: tuple[NodeOffer, ...] = field(default=())
