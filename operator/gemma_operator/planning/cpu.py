"""Attempts on CPU: llama.cpp in host memory."""

from gemma_operator.api.quantity import GIB, MIB, gib
from gemma_operator.api.reasons import Reason
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import EngineVersion
from gemma_operator.catalog.rows import Checkpoint
from gemma_operator.planning.attention import attention_specs
from gemma_operator.planning.fit import CpuFit, Misfit, sum_sentence
from gemma_operator.planning.inventory import Inventory, NodeOffer
from gemma_operator.planning.kv_cache import LLAMACPP_CELL_PADDING, LlamaCppCache
from gemma_operator.planning.support import Verdict
from gemma_operator.planning.units import ceil_div
from gemma_operator.planning.weights import RUN_TYPE_BYTES, weight_layout
from gemma_operator.planning.wish import Wish

DEFAULT_SLOTS = 4
"""Sequences that llama.cpp decodes at once: gains come from 4 up (cpu-engines facts, section 4)."""
MICRO_BATCH_TOKENS = 128
"""n_ubatch: sizes the compute buffer; 512 costs four times the memory for 10 % more prefill."""
BATCH_TOKENS = 512
"""n_batch."""
LOGIT_BYTES = 4
"""llama.cpp reserves float logits for a whole micro-batch: 514.5 MiB at 512 tokens and 262,144 entries."""
PROCESS_BYTES = 200 * MIB
"""tritonserver (40 MiB), Python stub with numpy and llama.cpp's library (about 110), request buffers;
measured."""
SHARED_MEMORY_BYTES = 64 * MIB
"""/dev/shm of the Python backend; memory-backed, so it counts against the container's limit."""
LIMIT_MARGIN = 0.10
"""Room above the sum: allocator slack and page tables."""
LIMIT_STEP_BYTES = 64 * MIB
READ_BYTES_PER_CORE = 500_000_000
"""Weights read per token that one more core still helps with: 270M needs 1 core, 4B about 5."""
MAX_DEFAULT_CORES = 8
NODE_RESERVE_BYTES = 512 * MIB
"""Memory of the gateway container beside the engine (settings.pods.gateway)."""
MILLICORES = 1000


def attempt_cpu(
    wish: Wish,
    catalog: Catalog,
    checkpoint: Checkpoint,
    version: EngineVersion,
    verdict: Verdict,
    inventory: Inventory,
) -> CpuFit | Misfit:
    """Place the wish in host memory. Never changes what the wish says."""
    layout = weight_layout(catalog, wish.variant.architecture or "", checkpoint.scheme, version.engine, 1)
    weights = checkpoint.file_bytes or layout.file_bytes
    context = ceil_div(wish.context, LLAMACPP_CELL_PADDING) * LLAMACPP_CELL_PADDING
    cache = LlamaCppCache(attention_specs(wish.architecture, 1), RUN_TYPE_BYTES, MICRO_BATCH_TOKENS)
    slot = cache.request_bytes(context)
    compute = wish.architecture.vocabulary * MICRO_BATCH_TOKENS * LOGIT_BYTES
    overhead = compute + PROCESS_BYTES + SHARED_MEMORY_BYTES
    largest = _largest_node(inventory)
    node_bytes = None if largest is None else max(0, largest.memory_bytes - NODE_RESERVE_BYTES)
    slots = _slots(wish, weights + overhead, slot, node_bytes)
    fixed = weights + overhead + slots * slot
    limit = wish.memory_bytes or _rounded(fixed)
    parts = {
        "weights": weights,
        f"KV cache of {slots} x {wish.context} tokens": slots * slot,
        "overhead": overhead,
    }
    where = f"{wish.variant_key} in {checkpoint.precision.value} on cpu with {version.engine.value}"
    if fixed > limit:
        message = (
            f"{where} does not fit: {sum_sentence(fixed, parts)}, has {gib(limit)} GiB of hardware.memory"
        )
        return Misfit(
            Reason.DOES_NOT_FIT, f"{message}; set it to {_mebibytes(_rounded(fixed))} or more", fixed - limit
        )
    if node_bytes is not None and limit > node_bytes:
        message = f"{where} does not fit: {sum_sentence(limit, {**parts, 'margin': limit - fixed})}"
        has = f"the largest node has {gib(node_bytes)} GiB allocatable beside the gateway"
        return Misfit(Reason.DOES_NOT_FIT, f"{message}, {has}", limit - node_bytes)
    cores = _cores(wish, layout.read_bytes_per_token, largest)
    if largest is not None and cores > largest.cpu_millicores:
        return Misfit(
            Reason.DOES_NOT_FIT,
            f"{where} was asked for {cores / MILLICORES:g} cores of CPU, the largest node has "
            f"{largest.cpu_millicores / MILLICORES:g} allocatable; lower hardware.cpu",
        )
    return CpuFit(
        catalog, checkpoint, version, verdict, cache, slots, cores, weights, slots * slot, overhead, limit
    )


def _slots(wish: Wish, fixed: int, slot: int, node_bytes: int | None) -> int:
    """The wish's concurrency; else the default, or fewer where memory is given and holds no more."""
    if wish.concurrency is not None:
        return wish.concurrency
    bound = wish.memory_bytes
    if bound is None and node_bytes is not None:
        bound = int(node_bytes / (1 + LIMIT_MARGIN)) - LIMIT_STEP_BYTES
    if bound is None:
        return DEFAULT_SLOTS
    return max(1, min(DEFAULT_SLOTS, (bound - fixed) // slot))


def _cores(wish: Wish, read_bytes: float, largest: NodeOffer | None) -> int:
    if wish.cpu_millicores is not None:
        return wish.cpu_millicores
    cores = min(MAX_DEFAULT_CORES, max(1, ceil_div(int(read_bytes), READ_BYTES_PER_CORE)))
    if largest is not None:
        cores = max(1, min(cores, largest.cpu_millicores // MILLICORES - 1))
    return cores * MILLICORES


def _rounded(fixed: int) -> int:
    return ceil_div(int(fixed * (1 + LIMIT_MARGIN)), LIMIT_STEP_BYTES) * LIMIT_STEP_BYTES


def _largest_node(inventory: Inventory) -> NodeOffer | None:
    """The node with most memory that runs this project's amd64 CPU image; None when nothing is known."""
    offers = [offer for offer in inventory.offers if offer.architecture == "amd64"]
    if not offers:
        return None if not inventory.offers else NodeOffer(None, 0, 0, 0)
    return max(offers, key=lambda offer: (offer.memory_bytes, offer.cpu_millicores))


def _mebibytes(value: int) -> str:
    return f"{value / GIB:.2f}Gi" if value >= GIB else f"{value // MIB}Mi"
