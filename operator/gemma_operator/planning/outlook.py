"""What to expect of a fit: speed, cost, start-up, largest context, and the memory sum with its bands."""

from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.hardware_rows import Accelerator
from gemma_operator.planning.cost import cost_per_million_tokens, hourly_cost, price_of
from gemma_operator.planning.cpu import MILLICORES
from gemma_operator.planning.fit import CpuFit, GpuFit
from gemma_operator.planning.memory import Term, largest_context
from gemma_operator.planning.plan import Outlook
from gemma_operator.planning.startup import startup_phases
from gemma_operator.planning.throughput import Load, Machine, Speed, cpu_speed, gpu_speed
from gemma_operator.planning.weights import weight_layout
from gemma_operator.planning.wish import Wish

TYPICAL_PROMPT, TYPICAL_ANSWER = 512, 256
"""Tokens of the load that speeds assume, where the context is long enough."""


def typical_load(concurrency: int, context: int) -> Load:
    """The load that a plan's speeds assume: two thirds prompt, one third answer."""
    answer = max(1, min(TYPICAL_ANSWER, context // 3))
    return Load(concurrency, max(1, min(TYPICAL_PROMPT, context - answer)), answer)


def gpu_outlook(fit: GpuFit, wish: Wish, fetched_bytes: int) -> Outlook:
    """Outlook of a fit on accelerators."""
    catalog, setup, demand = fit.setup.catalog, fit.setup, fit.demand
    load = typical_load(fit.concurrency, wish.context)
    machine = Machine(fit.accelerator, setup.engine, fit.count)
    speed = gpu_speed(catalog, setup.architecture_key, setup.scheme, machine, load)
    hourly = hourly_cost(catalog, fit.accelerator_key, fit.count)
    price = price_of(catalog, fit.accelerator_key)
    cache_bytes = fit.concurrency * demand.cache.request_bytes(wish.context)
    cache = Term(
        "KV cache", cache_bytes, cache_bytes, cache_bytes, f"{fit.concurrency} x {wish.context} tokens"
    )
    size = file_bytes_of(fit)
    return Outlook(
        support=fit.verdict.status.value,
        speed=speed,
        load=load,
        largest_context=largest_context(demand, wish.variant.context_length),
        kv_tokens=demand.cache.capacity(demand.pool_bytes, wish.context).tokens,
        startup=startup_phases(setup.engine, wish.architecture, size, fetched_bytes, fit.count),
        terms=(demand.weights, cache, *demand.overhead),
        machine_types=_machines(fit.accelerator, fit.count),
        hourly_cost=hourly,
        cost_per_million_tokens=cost_per_million_tokens(hourly, speed.total.expected),
        price_note=f"{price.currency}, as of {price.as_of}, {price.note}" if price else "no price known",
    )


def cpu_outlook(fit: CpuFit, wish: Wish, fetched_bytes: int) -> Outlook:
    """Outlook of a fit on CPU."""
    load = typical_load(fit.concurrency, wish.context)
    speed = cpu_fit_speed(fit, wish, load)
    terms = (
        Term("weights", fit.weights_bytes, fit.weights_bytes, fit.weights_bytes, "bytes of the GGUF file"),
        Term(
            "KV cache",
            fit.kv_bytes,
            fit.kv_bytes,
            fit.kv_bytes,
            f"{fit.concurrency} slots of {wish.context} tokens",
        ),
        Term(
            "overhead",
            fit.overhead_bytes,
            fit.overhead_bytes // 2,
            fit.overhead_bytes,
            "compute buffer and processes",
        ),
    )
    spare = fit.memory_bytes - fit.weights_bytes - fit.overhead_bytes
    largest = wish.variant.context_length
    while largest > wish.context and fit.cache.request_bytes(largest) > spare:
        largest //= 2
    return Outlook(
        support=fit.verdict.status.value,
        speed=speed,
        load=load,
        largest_context=max(wish.context, largest),
        kv_tokens=fit.concurrency * wish.context,
        startup=startup_phases(EngineName.LLAMA_CPP, wish.architecture, fit.weights_bytes, fetched_bytes, 1),
        terms=terms,
        price_note="no price known",
    )


def cpu_fit_speed(fit: CpuFit, wish: Wish, load: Load) -> Speed:
    """Speed of a CPU fit under a load."""
    threads = max(1, fit.cpu_millicores // MILLICORES)
    return cpu_speed(fit.catalog, wish.variant.architecture or "", fit.checkpoint.scheme, threads, load)


def file_bytes_of(fit: GpuFit) -> int:
    """Bytes to fetch: as published; else the sum of the groups, 16-bit where the engine quantises at load."""
    if fit.checkpoint.file_bytes is not None:
        return fit.checkpoint.file_bytes
    scheme = "bf16" if fit.checkpoint.quantized_at_load else fit.setup.scheme
    return weight_layout(
        fit.setup.catalog, fit.setup.architecture_key, scheme, fit.setup.engine, 1
    ).file_bytes


def _machines(accelerator: Accelerator, count: int) -> tuple[str, ...]:
    fitting = [machine for machine in accelerator.machines if machine.count >= count]
    least = min((machine.count for machine in fitting), default=0)
    return tuple(machine.name for machine in fitting if machine.count == least)
