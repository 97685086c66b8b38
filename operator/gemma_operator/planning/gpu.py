"""Attempts on accelerators: one checkpoint, one engine version, one accelerator, one count."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gemma_operator.api.quantity import GIB, gib
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Accelerator, EngineVersion, SupportStatus
from gemma_operator.catalog.rows import Checkpoint
from gemma_operator.planning.fit import GpuFit, Misfit, sum_sentence
from gemma_operator.planning.memory import (
    Demand,
    EngineSetup,
    concurrency_that_fits,
    demand_of,
    largest_context,
)
from gemma_operator.planning.plan import MemoryBudget
from gemma_operator.planning.support import Verdict
from gemma_operator.planning.units import version_tuple
from gemma_operator.planning.wish import Wish

UTILIZATION = 0.90
"""Share of an accelerator's memory that plans give the engine (vLLM gpu_memory_utilization, TensorRT-LLM
free_gpu_memory_fraction). Above, allocator fragmentation and graph capture have nowhere to go (vllm issue
16199)."""
DEFAULT_SEQUENCES = 256
"""vLLM's max_num_seqs for servers; also the most requests a plan admits unless the spec says otherwise."""
LARGE_DEVICE_BYTES = 70 * GIB
LARGE_DEVICE_TOKENS = 8192
"""vLLM's step on devices of at least that size."""
STEP_TOKENS = 2048
"""vLLM's step on smaller ones."""
VIDEO_STEP_TOKENS = 2560
"""The same for variants that see videos: one video item of Gemma 4 has 2,496 tokens and is never cut."""
SMALLEST_STEPS = ((1024, 8), (512, 4))
"""(batched tokens, sequences) for when memory is tight: small steps need little beside the cache."""
WORTH = 0.75
"""A larger step reads prompts faster and costs requests: it is taken where it holds this share of them."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A checkpoint on an engine version and an accelerator, without a count."""

    catalog: Catalog
    checkpoint: Checkpoint
    version: EngineVersion
    verdict: Verdict
    accelerator_key: str
    accelerator: Accelerator


@dataclass(frozen=True, slots=True)
class Step:
    """One step size of an engine, and the requests that fit with it."""

    requests: int
    setup: EngineSetup
    demand: Demand


def legal_counts(wish: Wish, accelerator: Accelerator) -> tuple[int, ...]:
    """Counts that a machine offers and that divide the attention heads."""
    return tuple(count for count in accelerator.counts if wish.heads % count == 0)


def impossible_count(wish: Wish, key: str, accelerator: Accelerator, count: int) -> Misfit | None:
    """Why that many accelerators cannot be used, or None."""
    possible = legal_counts(wish, accelerator)
    if count in possible:
        return None
    choices = ", ".join(str(n) for n in possible)
    if accelerator.parent is not None:
        return Misfit(
            Reason.IMPOSSIBLE_COUNT,
            f"{count} x {key}: partitions cannot work together; use 1, or {accelerator.parent}",
        )
    if count not in accelerator.counts:
        offered = ", ".join(str(n) for n in accelerator.counts)
        return Misfit(
            Reason.IMPOSSIBLE_COUNT,
            f"no machine has {count} x {key}: there are {offered}; for {wish.variant_key} set count to one "
            f"of {choices}",
        )
    return Misfit(
        Reason.IMPOSSIBLE_COUNT,
        f"{wish.variant_key} has {wish.heads} attention heads, which {count} accelerators do not divide; "
        f"set count to one of {choices}",
    )


def attempt_gpu(wish: Wish, placement: Placement, count: int) -> GpuFit | Misfit:
    """Place the wish on that many accelerators. Never changes what the wish says."""
    smallest = _setup(wish, placement, count, SMALLEST_STEPS[-1])
    least = demand_of(smallest)
    if concurrency_that_fits(least, wish.context) < 1:
        return _does_not_fit(wish, placement, count, least)
    best = _best_step(wish, placement, count)
    if wish.concurrency is not None and best.requests < wish.concurrency:
        return _too_many(wish, placement, count, best)
    return GpuFit(
        checkpoint=placement.checkpoint,
        version=placement.version,
        verdict=placement.verdict,
        accelerator_key=placement.accelerator_key,
        accelerator=placement.accelerator,
        count=count,
        setup=best.setup,
        demand=best.demand,
        concurrency=wish.concurrency or best.requests,
    )


def _best_step(wish: Wish, placement: Placement, count: int) -> Step:
    """The largest step that holds what is asked for, or nearly the most that any step holds."""
    steps = [_step(wish, placement, count, size) for size in _sizes(wish, placement)]
    most = max(step.requests for step in steps)
    wanted = most if wish.concurrency is not None else WORTH * most
    return next(step for step in steps if step.requests >= wanted)


def _step(wish: Wish, placement: Placement, count: int, size: tuple[int, int]) -> Step:
    setup = _setup(wish, placement, count, size)
    demand = demand_of(setup)
    return Step(min(concurrency_that_fits(demand, wish.context), setup.max_sequences), setup, demand)


def _sizes(wish: Wish, placement: Placement) -> Iterator[tuple[int, int]]:
    """(batched tokens, sequences) from the largest step to the smallest."""
    if placement.accelerator.memory_gib * GIB >= LARGE_DEVICE_BYTES:
        yield LARGE_DEVICE_TOKENS, DEFAULT_SEQUENCES
    usual = VIDEO_STEP_TOKENS if "video" in wish.variant.modalities else STEP_TOKENS
    for sequences in (DEFAULT_SEQUENCES, 64, 16):
        yield usual, sequences
    yield from SMALLEST_STEPS


def _setup(wish: Wish, placement: Placement, count: int, step: tuple[int, int]) -> EngineSetup:
    tokens, sequences = step
    return EngineSetup(
        catalog=placement.catalog,
        architecture_key=wish.variant.architecture or "",
        scheme=placement.checkpoint.scheme,
        engine=placement.version.engine,
        version=version_tuple(placement.version.version),
        tensor_parallel_size=count,
        device_bytes=int(placement.accelerator.memory_gib * GIB),
        utilization=UTILIZATION,
        batched_tokens=tokens,
        max_sequences=wish.concurrency or sequences,
        kv_element_bytes=placement.catalog.schemes[placement.checkpoint.scheme].kv_cache_bytes,
        images="image" in wish.variant.modalities and placement.version.engine is EngineName.VLLM,
        adapters=wish.adapters,
        adapter_rank=wish.adapter_rank,
        draft_bytes=wish.drafting.weights_bytes // count if wish.drafting else 0,
    )


def _place_words(wish: Wish, placement: Placement, count: int) -> str:
    precision = placement.checkpoint.precision.value
    place = f"{count} x {placement.accelerator_key} with {placement.version.engine.value}"
    return f"{wish.variant_key} in {precision} on {place}"


def _does_not_fit(wish: Wish, placement: Placement, count: int, demand: Demand) -> Misfit:
    cache = demand.cache.request_bytes(wish.context)
    needed = demand.weights.bytes + cache + demand.overhead_bytes

    def longest() -> int:
        return largest_context(demand, wish.context)

    def sentence() -> str:
        parts = {"weights": demand.weights.bytes, "KV cache": cache, "overhead": demand.overhead_bytes}
        remedy = f"; the largest context that fits is {longest()}" if longest() else ""
        return (
            f"{_place_words(wish, placement, count)} does not fit: {sum_sentence(needed, parts)} per "
            f"accelerator for one request of {wish.context} tokens, has {gib(demand.usable_bytes)} GiB "
            f"usable of {placement.accelerator.memory_gib:.2f}{remedy}"
        )

    shortfall = (needed - demand.usable_bytes) * count
    budget = MemoryBudget(demand.usable_bytes, demand.weights.bytes, cache, demand.overhead_bytes)
    return Misfit(Reason.DOES_NOT_FIT, sentence, shortfall, _is_verified(placement), longest, budget)


def _too_many(wish: Wish, placement: Placement, count: int, best: Step) -> Misfit:
    asked = wish.concurrency or 0
    each = best.demand.cache.request_bytes(wish.context)

    def most() -> int:
        return _most_requests(wish, placement, count, best.requests)

    def sentence() -> str:
        return (
            f"{_place_words(wish, placement, count)} holds {most()} requests of {wish.context} tokens at "
            f"once ({gib(best.demand.pool_bytes)} GiB of KV cache, {gib(each)} GiB each) and was asked for "
            f"{asked}; set maxConcurrentRequests to {most()} or less, or contextLength lower"
        )

    shortfall = (asked - best.requests) * each * count
    return Misfit(Reason.CONCURRENCY_TOO_HIGH, sentence, shortfall, _is_verified(placement), most)


def _is_verified(placement: Placement) -> bool:
    return placement.verdict.status is SupportStatus.VERIFIED


def _most_requests(wish: Wish, placement: Placement, count: int, least: int) -> int:
    """The most requests that a spec may ask for: fewer sequences leave more memory to the cache."""
    most = max(1, least)
    while _best_step(replace(wish, concurrency=most + 1), placement, count).requests > most:
        most += 1
    return most
