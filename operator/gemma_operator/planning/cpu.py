"""Attempts on CPU: llama.cpp in host memory."""

from dataclasses import dataclass, replace

from gemma_operator.api.quantity import GIB, MIB, gib
from gemma_operator.api.reasons import Reason
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import EngineVersion
from gemma_operator.catalog.rows import Checkpoint
from gemma_operator.planning.attention import attention_specs
from gemma_operator.planning.fit import CpuFit, Misfit, sum_sentence
from gemma_operator.planning.inventory import Inventory, NodeOffer
from gemma_operator.planning.kv_cache import LLAMACPP_CELL_PADDING, LlamaCppCache
from gemma_operator.planning.memory import adapter_bytes
from gemma_operator.planning.plan import MemoryBudget
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


@dataclass(frozen=True, slots=True)
class CpuNeed:
    """What one model takes of host memory."""

    where: str
    """The attempt in words."""
    weights: int
    overhead: int
    cache: LlamaCppCache
    slots: int
    context: int

    @property
    def kv_bytes(self) -> int:
        """All slots."""
        return self.slots * self.cache.request_bytes(padded(self.context))

    @property
    def bytes(self) -> int:
        """The sum, without margin."""
        return self.weights + self.overhead + self.kv_bytes

    @property
    def parts(self) -> dict[str, int]:
        """The addends by name."""
        cache = f"KV cache of {self.slots} x {self.context} tokens"
        return {"weights": self.weights, cache: self.kv_bytes, "overhead": self.overhead}

    def longest_context(self, bound: int) -> int:
        """Most tokens per slot for which the sum stays within the bound; 0 when none does."""
        low, high = 0, self.context // LLAMACPP_CELL_PADDING
        while low < high:
            middle = (low + high + 1) // 2
            needed = replace(self, context=middle * LLAMACPP_CELL_PADDING).bytes
            low, high = (middle, high) if needed <= bound else (low, middle - 1)
        return low * LLAMACPP_CELL_PADDING


def padded(context: int) -> int:
    """Tokens of a slot: llama.cpp pads its context."""
    return ceil_div(context, LLAMACPP_CELL_PADDING) * LLAMACPP_CELL_PADDING


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
    largest = _largest_node(inventory)
    room = None if largest is None else max(0, largest.memory_bytes - NODE_RESERVE_BYTES)
    compute = wish.architecture.vocabulary * MICRO_BATCH_TOKENS * LOGIT_BYTES
    one_slot = CpuNeed(
        where=f"{wish.variant_key} in {checkpoint.precision.value} on cpu with {version.engine.value}",
        weights=checkpoint.file_bytes or layout.file_bytes,
        overhead=compute + PROCESS_BYTES + SHARED_MEMORY_BYTES + _adapters(wish),
        cache=LlamaCppCache(attention_specs(wish.architecture, 1), RUN_TYPE_BYTES, MICRO_BATCH_TOKENS),
        slots=wish.concurrency or 1,
        context=wish.context,
    )
    need = replace(one_slot, slots=_slots(wish, one_slot, room))
    memory = wish.memory_bytes or _rounded(need.bytes)
    cores = _cores(wish, layout.read_bytes_per_token, largest)
    misfit = _too_large(need, one_slot, memory, room) or _too_many_cores(need, cores, largest)
    if misfit is not None:
        return misfit
    return CpuFit(
        catalog=catalog,
        checkpoint=checkpoint,
        version=version,
        verdict=verdict,
        cache=need.cache,
        concurrency=need.slots,
        cpu_millicores=cores,
        weights_bytes=need.weights,
        kv_bytes=need.kv_bytes,
        overhead_bytes=need.overhead,
        memory_bytes=memory,
    )


def _too_large(need: CpuNeed, one_slot: CpuNeed, memory: int, room: int | None) -> Misfit | None:
    """The sum against hardware.memory, and that against the largest node."""
    if need.bytes > memory:
        message = (
            f"{need.where} does not fit: {sum_sentence(need.bytes, need.parts)}, has {gib(memory)} GiB of "
            f"hardware.memory; set it to {_mebibytes(_rounded(need.bytes))} or more"
        )
        lack = need.bytes - memory
        return Misfit(
            Reason.DOES_NOT_FIT,
            message,
            lack,
            limit=lambda: one_slot.longest_context(memory),
            memory=MemoryBudget(memory, need.weights, need.kv_bytes, need.overhead),
        )
    if room is not None and memory > room:
        parts = {**need.parts, "margin": memory - need.bytes}
        message = (
            f"{need.where} does not fit: {sum_sentence(memory, parts)}, the largest node has {gib(room)} GiB "
            "allocatable beside the gateway"
        )
        bound = _without_margin(room)
        lack = memory - room
        overhead = need.overhead + memory - need.bytes
        return Misfit(
            Reason.DOES_NOT_FIT,
            message,
            lack,
            limit=lambda: one_slot.longest_context(bound),
            memory=MemoryBudget(room, need.weights, need.kv_bytes, overhead),
        )
    return None


def _too_many_cores(need: CpuNeed, cores: int, largest: NodeOffer | None) -> Misfit | None:
    if largest is None or cores <= largest.cpu_millicores:
        return None
    return Misfit(
        Reason.DOES_NOT_FIT,
        f"{need.where} was asked for {cores / MILLICORES:g} cores of CPU, the largest node has "
        f"{largest.cpu_millicores / MILLICORES:g} allocatable; lower hardware.cpu",
    )


def _adapters(wish: Wish) -> int:
    return wish.adapters * adapter_bytes(wish.architecture, wish.adapter_rank)


def _slots(wish: Wish, one_slot: CpuNeed, room: int | None) -> int:
    """The wish's concurrency; else the default, or fewer where memory is bounded and holds no more."""
    if wish.concurrency is not None:
        return wish.concurrency
    bound = wish.memory_bytes
    if bound is None and room is not None:
        bound = _without_margin(room)
    if bound is None:
        return DEFAULT_SLOTS
    spare = bound - one_slot.weights - one_slot.overhead
    return max(1, min(DEFAULT_SLOTS, spare // one_slot.kv_bytes))


def _without_margin(room: int) -> int:
    """What the sum may be, so that its limit with margin and rounding stays within the room."""
    return int(room / (1 + LIMIT_MARGIN)) - LIMIT_STEP_BYTES


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
