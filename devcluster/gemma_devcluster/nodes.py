"""The nodes of a cluster: one ordinary node, and one more per kind of simulated accelerator."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gemma_devcluster.addresses import KUBELET_HEALTH_PORT, KUBELET_PORT
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.layout import Layout

# `cloud.google.com/gke-accelerator` value → NVIDIA GPU Feature Discovery's `nvidia.com/gpu.product`, and the
# MiB per GPU that nvidia-smi reports (https://docs.cloud.google.com/compute/docs/gpus, read 2026-11).
ACCELERATORS: Mapping[str, tuple[str, int | None]] = {
    "nvidia-tesla-t4": ("Tesla-T4", 15360),
    "nvidia-l4": ("NVIDIA-L4", 23034),
    "nvidia-tesla-a100": ("NVIDIA-A100-SXM4-40GB", 40960),
    "nvidia-a100-80gb": ("NVIDIA-A100-SXM4-80GB", 81920),
    "nvidia-h100-80gb": ("NVIDIA-H100-80GB-HBM3", 81559),
    "nvidia-h100-mega-80gb": ("NVIDIA-H100-80GB-HBM3", 81559),
    "nvidia-h200-141gb": ("NVIDIA-H200", 143771),
    "nvidia-b200": ("NVIDIA-B200", None),
    "nvidia-gb200": ("NVIDIA-GB200", None),
    "nvidia-rtx-pro-6000": ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", None),
}
GPU_RESOURCE = "nvidia.com/gpu"
GPU_TAINT = {"key": GPU_RESOURCE, "value": "present", "effect": "NoSchedule"}
MAX_GPUS_PER_NODE = 16


@dataclass(frozen=True)
class Node:
    """One kubelet with its containerd. All nodes of a cluster share the machine, its address and its bridge.

    Attributes:
        cluster: name of the cluster.
        number: 0 for the ordinary node; decides the kubelet's ports.
        accelerator: `cloud.google.com/gke-accelerator` value, empty for the ordinary node.
        gpus: how many of them it says it has.
    """

    cluster: str
    number: int = 0
    accelerator: str = ""
    gpus: int = 0

    @property
    def name(self) -> str:
        """The Node's name; the ordinary one is called like its cluster."""
        return f"{self.cluster}-{self.accelerator}" if self.accelerator else self.cluster

    @property
    def kubelet_port(self) -> int:
        """Where the API server finds logs and exec."""
        return KUBELET_PORT + self.number

    @property
    def health_port(self) -> int:
        """Where the kubelet answers health checks."""
        return KUBELET_HEALTH_PORT + self.number

    @property
    def cgroup(self) -> str:
        """Parent of its pods' cgroups."""
        return f"/gemma-devcluster/{self.cluster}/{self.name}"

    @property
    def runtime_folder(self) -> str:
        """Sockets of its containerd, in the machine's private /run."""
        return f"/run/containerd-{self.number}"

    @property
    def runtime_socket(self) -> str:
        """Where its containerd listens, inside the machine."""
        return f"{self.runtime_folder}/containerd.sock"

    def content(self, layout: Layout) -> str:
        """Images and snapshots of its containerd."""
        return str(layout.state / "nodes" / self.name / "containerd")

    def kubelet_root(self, layout: Layout) -> str:
        """The kubelet's folder: volumes, checkpoints, plugins."""
        return str(layout.state / "nodes" / self.name / "kubelet")

    @property
    def labels(self) -> dict[str, str]:
        """What a cloud's node pool and NVIDIA's feature discovery would have written on the node."""
        if not self.accelerator:
            return {}
        product, mebibytes = ACCELERATORS[self.accelerator]
        labels = {
            "cloud.google.com/gke-accelerator": self.accelerator,
            "cloud.google.com/gke-accelerator-count": str(self.gpus),
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.count": str(self.gpus),
            "devcluster.gemma-operator.dev/simulated-accelerator": "true",
        }
        return labels if mebibytes is None else {**labels, "nvidia.com/gpu.memory": str(mebibytes)}


def parse_gpus(arguments: Iterable[str]) -> dict[str, int]:
    """`nvidia-l4=4` arguments as accelerator to count.

    Raises:
        DevclusterError: not of that form, an unknown accelerator, or an impossible count.
    """
    parsed: dict[str, int] = {}
    for argument in arguments:
        match = re.fullmatch(r"([a-z0-9-]+)=([0-9]+)", argument)
        if match is None:
            raise DevclusterError(
                f"--gpus {argument!r} must read ACCELERATOR=COUNT, for instance nvidia-l4=4"
            )
        accelerator, count = match[1], int(match[2])
        if accelerator not in ACCELERATORS:
            raise DevclusterError(f"--gpus does not know {accelerator}; it knows {', '.join(ACCELERATORS)}")
        if not 1 <= count <= MAX_GPUS_PER_NODE:
            raise DevclusterError(f"--gpus {argument}: a node has 1 to {MAX_GPUS_PER_NODE} GPUs")
        parsed[accelerator] = count
    return parsed


def nodes_of(cluster: str, gpus: Mapping[str, int]) -> list[Node]:
    """The ordinary node first, then one per accelerator in the given order."""
    simulated = [Node(cluster, number, *each) for number, each in enumerate(gpus.items(), start=1)]
    return [Node(cluster), *simulated]
