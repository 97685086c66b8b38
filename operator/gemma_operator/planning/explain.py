"""Each number of a plan with its formula and where it comes from."""

from collections.abc import Iterator
from dataclasses import dataclass

from gemma_operator.api.quantity import GIB, gib
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.planning.cost import price_of
from gemma_operator.planning.fit import CpuFit, GpuFit
from gemma_operator.planning.gpu import UTILIZATION
from gemma_operator.planning.kv_cache import LlamaCppCache, TensorRTCache, VllmCache
from gemma_operator.planning.memory import Term
from gemma_operator.planning.plan import Plan
from gemma_operator.planning.throughput import (
    CPU_BANDWIDTH,
    CPU_FLOPS_PER_THREAD,
    efficiency_of,
)
from gemma_operator.planning.weights import TensorGroup, rope_table_bytes, weight_layout
from gemma_operator.planning.wish import Wish


@dataclass(frozen=True, slots=True)
class Line:
    """One number explained."""

    topic: str
    name: str
    value: str
    formula: str
    source: str = ""


def explain(plan: Plan, fit: GpuFit | CpuFit, wish: Wish, catalog: Catalog) -> tuple[Line, ...]:
    """Every number of the plan, in the order in which it is worked out."""
    return (
        *_facts(fit, wish, catalog),
        *_weights(fit, wish, catalog),
        *_memory(plan, fit),
        *_cache(fit, wish),
        *_speed(plan, fit, catalog),
        *_startup(plan),
    )


def _facts(fit: GpuFit | CpuFit, wish: Wish, catalog: Catalog) -> Iterator[Line]:
    body = catalog.architectures[wish.variant.architecture or ""]
    layers = f"{body.own_layers.local} local + {body.own_layers.global_} global"
    if body.sliding_window:
        layers += f", window {body.sliding_window}"
    yield Line(
        "model", "layers with a cache", layers, "layer table", f"{body.source} ({body.confidence.value})"
    )
    check = fit.checkpoint
    yield Line(
        "model", "checkpoint", check.repository, check.scheme, f"{check.source} ({check.confidence.value})"
    )
    thread = f"; {fit.verdict.thread}" if fit.verdict.thread else ""
    version = f"{fit.version.engine.value} {fit.version.version}"
    yield Line("engine", "support", fit.verdict.status.value, version, f"{fit.verdict.note}{thread}")
    if isinstance(fit, GpuFit):
        row = fit.accelerator
        usable = f"{row.memory_gib:.2f} GiB"
        yield Line(
            "hardware",
            "visible memory",
            usable,
            "what CUDA reports",
            f"{row.source} ({row.memory_confidence.value})",
        )


def _weights(fit: GpuFit | CpuFit, wish: Wish, catalog: Catalog) -> Iterator[Line]:
    ranks = fit.count if isinstance(fit, GpuFit) else 1
    layout = weight_layout(
        catalog, wish.variant.architecture or "", fit.checkpoint.scheme, fit.version.engine, ranks
    )
    scheme = catalog.schemes[fit.checkpoint.scheme].source
    for group in layout.groups:
        yield Line("weights", group.name, f"{gib(group.bytes)} GiB", _group_formula(group, ranks), scheme)
    if fit.version.engine is not EngineName.LLAMA_CPP:
        size = rope_table_bytes(catalog.architectures[wish.variant.architecture or ""])
        yield Line(
            "weights",
            "rotary tables",
            f"{gib(size)} GiB",
            "positions x head size x 2 bytes",
            "vLLM rotary embedding cache",
        )


def _group_formula(group: TensorGroup, ranks: int) -> str:
    share = f" / {ranks} ranks" if group.split and ranks > 1 else ""
    held = "" if group.in_memory else ", in the file only"
    return f"{group.parameters:,} x {group.bits:g} bits{share}{held}"


def _memory(plan: Plan, fit: GpuFit | CpuFit) -> Iterator[Line]:
    usable = f"{gib(plan.memory.usable_bytes)} GiB"
    if isinstance(fit, GpuFit):
        formula = f"{UTILIZATION:.2f} x {fit.accelerator.memory_gib:.2f} GiB"
        if fit.version.engine is EngineName.TENSORRT_LLM:
            formula = f"weights + {UTILIZATION:.2f} x the rest of {fit.accelerator.memory_gib:.2f} GiB"
        yield Line("memory", "usable", usable, formula, "share of memory that plans give the engine")
    else:
        yield Line("memory", "usable", usable, "sum + 10 %, or hardware.memory", "the container's limit")
    for term in plan.outlook.terms if plan.outlook else ():
        yield Line("memory", term.name, f"{gib(term.bytes)} GiB", term.formula, _band(term))
    yield Line(
        "memory", "headroom", f"{gib(plan.memory.headroom_bytes)} GiB", "usable - all of the above", ""
    )


def _band(term: Term) -> str:
    return f"between {term.low_bytes / GIB:.2f} and {term.high_bytes / GIB:.2f} GiB"


def _cache(fit: GpuFit | CpuFit, wish: Wish) -> Iterator[Line]:
    cache = fit.demand.cache if isinstance(fit, GpuFit) else fit.cache
    each = f"{gib(cache.request_bytes(wish.context))} GiB"
    if isinstance(cache, VllmCache):
        local_groups, global_groups, local_block, global_block = cache.layout
        groups = f"{local_groups} local + {global_groups} global groups of {cache.group_layers} layers"
        blocks = (
            f"blocks of {local_block} and {global_block} tokens, {cache.tokens_in_flight} tokens in flight"
        )
        source = "vLLM kv_cache_utils, matches 30 engine starts"
        yield Line("cache", "layout", groups, blocks, source)
        pages = f"{cache.request_blocks(wish.context)} pages x {cache.block_bytes:,} bytes"
        yield Line("cache", "one request", each, pages, source)
    elif isinstance(cache, TensorRTCache):
        formula = (
            f"window + {cache.chunk_tokens} tokens in one pool, {wish.context} in the other, 32-token blocks"
        )
        yield Line("cache", "one request", each, formula, "TensorRT-LLM documentation; inferred margin")
    elif isinstance(cache, LlamaCppCache):
        formula = f"global layers x {wish.context} + local layers x (window + {cache.micro_batch}) cells"
        yield Line("cache", "one slot", each, formula, "llama.cpp, measured")


def _speed(plan: Plan, fit: GpuFit | CpuFit, catalog: Catalog) -> Iterator[Line]:
    if plan.outlook is None:
        return
    speed, load = plan.outlook.speed, plan.outlook.load
    assumed = f"{load.concurrency} requests of {load.prompt_tokens} + {load.answer_tokens} tokens"
    if isinstance(fit, GpuFit):
        compute = catalog.types[catalog.schemes[fit.checkpoint.scheme].feed_forward].compute
        row = efficiency_of(catalog, fit.accelerator.throughput_class, fit.version.engine, compute)
        formula = (
            f"bytes / ({row.bandwidth:.2f} x {fit.accelerator.bandwidth_gbps:g} GB/s)"
            f" + {row.layer_microseconds:g} µs per layer"
        )
        source = f"{row.source} ({row.confidence.value})"
    else:
        compute_rate = f"{CPU_FLOPS_PER_THREAD / 1e9:g} GFLOP/s x {plan.threads}"
        formula = f"bytes / {CPU_BANDWIDTH / 1e9:g} GB/s + FLOP / ({compute_rate})"
        source = "measured on 2 vCPU, Gemma 3 270M Q4_K_M"
    yield Line("speed", "decode step", f"{speed.step_seconds * 1000:.1f} ms", formula, source)
    total, one = speed.total, speed.per_request
    band = f"{total.low:.0f} to {total.high:.0f}"
    yield Line("speed", "tokens per second", f"{total.expected:.0f}", f"{assumed}; band {band}", source)
    yield Line(
        "speed", "per request", f"{one.expected:.1f} tokens/s", "1 / (step + prefill of others)", source
    )
    first = speed.time_to_first_token
    typical = f"prefill of {load.prompt_tokens} tokens and its queue"
    yield Line("speed", "time to first token", f"{first.expected:.2f} s", typical, source)
    price = price_of(catalog, plan.accelerator)
    if price is not None and plan.outlook.hourly_cost is not None:
        cost = f"{plan.outlook.hourly_cost:.2f} {price.currency} per hour"
        yield Line(
            "cost",
            "replica",
            cost,
            f"{plan.count} x {price.hourly}",
            f"{price.source}, as of {price.as_of}; {price.note}",
        )


def _startup(plan: Plan) -> Iterator[Line]:
    for phase in plan.outlook.startup if plan.outlook else ():
        yield Line("start-up", phase.phase, f"{phase.seconds:.0f} s", phase.formula, "")
