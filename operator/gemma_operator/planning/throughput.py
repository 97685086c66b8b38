"""How fast: a roofline of decode and prefill with one calibrated efficiency per accelerator class and engine.

A decode step reads the weights once and every running request's cache, and pays a fixed cost per layer. In
steady state each finished request brings a prompt, so part of every step goes to prefill. The interval is the
band of the efficiency row: what calibration does not explain.
"""

from dataclasses import dataclass

from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Accelerator, Efficiency
from gemma_operator.catalog.rows import Architecture, Confidence
from gemma_operator.planning.weights import RUN_TYPE_BYTES, WeightLayout, weight_layout

FLOPS_PER_PARAMETER = 2
"""One multiplication and one addition."""
MIXTURE_LAYER_FACTOR = 1.75
"""A mixture layer launches its dense and its routed kernels: fixed cost against a dense layer."""
ALL_REDUCES_PER_LAYER = 2
NVLINK_REDUCE_SECONDS = 10e-6
PCIE_REDUCE_SECONDS = 30e-6
"""Latency of one small all-reduce over NVLink, and over PCIe."""
FIRST_TOKEN_SECONDS = 0.010
"""Tokenising, scheduling, first sampling."""
BUSIEST_PREFILL = 0.95
"""Utilisation above which the waiting time of the queueing formula is cut off."""
CPU_BANDWIDTH = 28.7e9
"""Bytes/s that llama.cpp draws for weights; measured on 2 vCPU (EPYC family 26): 13 ms per token of 253
MB."""
CPU_FLOPS_PER_THREAD = 64e9
"""FLOP/s of one AVX2 thread in quantised matrix products; measured: prefill 620 tokens/s on 2 threads."""
CPU_BAND = 0.45
"""Between machines memory bandwidth per vCPU differs by more than two; measured on one."""
TERA = 1e12
GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Interval:
    """Low, expected, high."""

    low: float
    expected: float
    high: float

    @staticmethod
    def around(expected: float, band: float) -> "Interval":
        """Symmetric in ratio: expected x (1 - band) to expected / (1 - band)."""
        return Interval(expected * (1 - band), expected, expected / (1 - band))


@dataclass(frozen=True, slots=True)
class Load:
    """Requests under way at once and their mean lengths in tokens."""

    concurrency: int
    prompt_tokens: int = 512
    answer_tokens: int = 256

    @property
    def mean_context(self) -> float:
        """Tokens in the cache half way through an answer."""
        return self.prompt_tokens + self.answer_tokens / 2


@dataclass(frozen=True, slots=True)
class Speed:
    """What one replica does under a load."""

    step_seconds: float
    """One decode step without prefill."""
    token_seconds: float
    """Between two tokens of one request, prefill of others included."""
    time_to_first_token: Interval
    """Seconds."""
    per_request: Interval
    """Tokens/s that one caller sees while its answer streams."""
    total: Interval
    """Tokens/s of the whole replica, prompts being read included."""
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it runs."""

    accelerator: Accelerator
    engine: EngineName
    tensor_parallel_size: int


def gpu_speed(catalog: Catalog, architecture_key: str, scheme: str, machine: Machine, load: Load) -> Speed:
    """Speed on accelerators. Raises KeyError for an unknown body or scheme."""
    ranks = machine.tensor_parallel_size
    layout = weight_layout(catalog, architecture_key, scheme, machine.engine, ranks)
    architecture = catalog.architectures[architecture_key]
    compute_class = catalog.types[catalog.schemes[scheme].feed_forward].compute
    row = efficiency_of(catalog, machine.accelerator.throughput_class, machine.engine, compute_class)
    flops = _peak_flops(machine.accelerator, compute_class) * row.compute * ranks
    bandwidth = machine.accelerator.bandwidth_gbps * GIGA * row.bandwidth
    kv = load.concurrency * cache_read_bytes(architecture, load.mean_context, ranks)
    reading = (touched_bytes(architecture, layout, load.concurrency) + kv) / bandwidth
    computing = load.concurrency * FLOPS_PER_PARAMETER * layout.active_parameters / flops
    step = max(reading, computing) + _fixed_seconds(architecture, machine, row)
    prompt = load.prompt_tokens * FLOPS_PER_PARAMETER * _prefill_parameters(architecture, layout) / flops
    return _speed(step, prompt, load, row.band, row.confidence)


def cpu_speed(catalog: Catalog, architecture_key: str, scheme: str, threads: int, load: Load) -> Speed:
    """Speed of llama.cpp on CPU. Raises KeyError for an unknown body or scheme."""
    layout = weight_layout(catalog, architecture_key, scheme, EngineName.LLAMA_CPP, 1)
    architecture = catalog.architectures[architecture_key]
    flops = CPU_FLOPS_PER_THREAD * threads
    kv = load.concurrency * cache_read_bytes(architecture, load.mean_context, 1)
    reading = (touched_bytes(architecture, layout, load.concurrency) + kv) / CPU_BANDWIDTH
    computing = load.concurrency * FLOPS_PER_PARAMETER * layout.active_parameters / flops
    prompt = load.prompt_tokens * FLOPS_PER_PARAMETER * _prefill_parameters(architecture, layout) / flops
    return _speed(reading + computing, prompt, load, CPU_BAND, Confidence.MEASURED)


def _speed(step: float, prompt: float, load: Load, band: float, confidence: Confidence) -> Speed:
    others = (load.concurrency - 1) / load.answer_tokens
    token = step + others * prompt
    busy = min(BUSIEST_PREFILL, (load.concurrency - 1) * prompt / (load.answer_tokens * token + prompt))
    first = FIRST_TOKEN_SECONDS + step + prompt * (1 + busy / (2 * (1 - busy)))
    answer_seconds = first + (load.answer_tokens - 1) * token
    total = load.concurrency * load.answer_tokens / answer_seconds
    return Speed(
        step_seconds=step,
        token_seconds=token,
        time_to_first_token=Interval.around(first, band),
        per_request=Interval.around(1 / token, band),
        total=Interval.around(total, band),
        confidence=confidence,
    )


def efficiency_of(
    catalog: Catalog, throughput_class: str, engine: EngineName, precision_class: str
) -> Efficiency:
    """The most specific calibrated row. Raises LookupError when the engine has none at all."""
    for wanted_class in (throughput_class, "any"):
        for wanted_precision in (precision_class, "any"):
            for row in catalog.efficiencies:
                if (row.throughput_class, row.engine, row.precision_class) == (
                    wanted_class,
                    engine,
                    wanted_precision,
                ):
                    return row
    raise LookupError(f"throughput.yaml has no row for {engine.value}")


def touched_bytes(architecture: Architecture, layout: WeightLayout, concurrency: int) -> float:
    """Weights that one decode step reads: of the experts, those that at least one request is routed to."""
    if architecture.experts is None:
        return layout.read_bytes_per_token
    share = architecture.experts.active / architecture.experts.count
    dense = layout.read_bytes_per_token - layout.expert_bytes * share
    return dense + layout.expert_bytes * (1 - (1 - share) ** concurrency)


def cache_read_bytes(architecture: Architecture, context: float, ranks: int) -> float:
    """Cache that one token of one request reads; layers that share a cache read it again."""
    total = 0.0
    for kind, tokens in (
        ("local", min(architecture.sliding_window or context, context)),
        ("global_", context),
    ):
        layers = getattr(architecture.own_layers, kind) + getattr(architecture.shared_layers, kind)
        heads = max(1, getattr(architecture.kv_heads, kind) / ranks)
        total += layers * 2 * heads * getattr(architecture.head_size, kind) * RUN_TYPE_BYTES * tokens
    return total


def _fixed_seconds(architecture: Architecture, machine: Machine, row: Efficiency) -> float:
    factor = MIXTURE_LAYER_FACTOR if architecture.experts else 1.0
    seconds = architecture.layers * factor * row.layer_microseconds * 1e-6
    if machine.tensor_parallel_size > 1:
        latency = NVLINK_REDUCE_SECONDS if machine.accelerator.nvlink else PCIE_REDUCE_SECONDS
        seconds += architecture.layers * ALL_REDUCES_PER_LAYER * latency
    return seconds


def _peak_flops(accelerator: Accelerator, compute_class: str) -> float:
    """Dense FLOP/s of the precision class, or of 16 bits where the units have no such class."""
    tflops = accelerator.tflops
    return tflops.get(compute_class, tflops.get("bf16", min(tflops.values(), default=1.0))) * TERA


def _prefill_parameters(architecture: Architecture, layout: WeightLayout) -> float:
    """Parameters multiplied per prompt token: the output head runs for the last token only."""
    return layout.active_parameters - architecture.parameters.embedding
