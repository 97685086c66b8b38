"""Memory of one accelerator: what the engine may use, what each term takes, what is left for the KV cache.

Every term carries a band. Constants are named with their origin; none is fitted to a single configuration.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from gemma_operator.api.quantity import GIB, MIB
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.rows import Architecture
from gemma_operator.planning.attention import attention_specs
from gemma_operator.planning.kv_cache import (
    VLLM_DERIVED_TOKENS_SINCE,
    VLLM_HYBRID_SINCE,
    KvCache,
    TensorRTCache,
    VllmCache,
)
from gemma_operator.planning.weights import RUN_TYPE_BYTES, WeightLayout, weight_layout

VLLM_ASYNC_BATCHES_SINCE = (0, 26)
"""From here tokens in flight count both batches of asynchronous scheduling (vllm PR 47728, issue 49878)."""
ASYNC_BATCHES = 2
VLLM_GRAPH_RESERVE_SINCE = (0, 21)
"""From here the estimated CUDA-graph memory is taken off before the KV pool is sized."""
SAMPLER_V2_SINCE = (0, 29)
"""Model Runner V2 is the default for Gemma in 0.29.0 and was not in 0.27.1 (vllm config/vllm.py of both)."""
LOGIT_BYTES = 14
"""Sampling, per sequence and vocabulary entry: 16-bit logits 2, float copy 4, probabilities 4, noise 4 (vllm
0.24.0 `_dummy_sampler_run`, `TopKTopPSampler.forward_native`)."""
LOGIT_BYTES_V2 = 6
"""The same in Model Runner V2, which profiles without top-k and top-p: 16-bit logits 2, float copy 4."""
DRAFT_ROWS = 2
"""With a drafter vLLM also profiles the rejection sampler: a drafted token's row beside the request's own."""
NON_TORCH_BYTES = 200 * MIB
"""CUDA libraries and workspaces outside the allocator; public vLLM logs of one card give 0.16-0.33 GiB."""
NCCL_BYTES = 150 * MIB
"""Communicators and all-reduce buffers per rank when there are several; public logs give 0.1-0.6 GiB."""
GRAPH_BYTES_PER_LAYER = 180 * 1024
"""Driver memory of one layer in one captured graph: 0.13 GiB for 24 layers x 35 graphs of another model on
H100 is 166 kB; Gemma 4 12B on RTX 3090 logs 0.68 GiB captured and 0.79 reserved, 173 and 205 kB."""
GRAPH_BATCHES = 512
"""vLLM captures sizes up to min(2 x max_num_seqs, 512): 1, 2, 4, multiples of 8 to 256, of 16 above."""
HIDDEN_COPIES = 4
"""Hidden-state tensors alive at the widest point of a layer: input, residual, norm, output."""
FEED_FORWARD_COPIES = 3
"""Gate, up and their product."""
VISION_HIDDEN_COPIES = 3
VISION_FEED_FORWARD_COPIES = 2
"""Tensors alive in an image encoder's widest layer."""
TENSORRT_GRAPH_BYTES = 1024 * MIB
"""TensorRT-LLM says up to 200 MB per graph; the batch sizes it captures by default share most of it."""
TENSORRT_RUNTIME_BYTES = 1536 * MIB
"""PyTorch, cuBLAS, autotuner workspaces of TensorRT-LLM's executor; KAITO's constant for vLLM is 2.3 GiB in
all."""
ADAPTER_BYTES = 2
"""LoRA matrices are held in the run type."""


@dataclass(frozen=True, slots=True)
class Term:
    """One addend of the sum, with the band it may lie in."""

    name: str
    bytes: int
    low_bytes: int
    high_bytes: int
    formula: str


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """What is sized: a checkpoint on one engine version and so many accelerators, with its settings."""

    catalog: Catalog
    architecture_key: str
    scheme: str
    engine: EngineName
    version: tuple[int, ...]
    tensor_parallel_size: int
    device_bytes: int
    """What CUDA reports for one accelerator."""
    utilization: float
    """vLLM: of all memory. TensorRT-LLM: of what weights leave."""
    batched_tokens: int
    """Tokens that one step evaluates at most."""
    max_sequences: int
    kv_element_bytes: int = RUN_TYPE_BYTES
    images: bool = False
    cuda_graphs: bool = True
    adapters: int = 0
    adapter_rank: int = 0
    draft_bytes: int = 0
    """Weights of a drafter, per rank."""

    @property
    def architecture(self) -> Architecture:
        """Layer table of the body."""
        return self.catalog.architectures[self.architecture_key]

    @property
    def layout(self) -> WeightLayout:
        """Weights as this engine holds them."""
        return weight_layout(
            self.catalog, self.architecture_key, self.scheme, self.engine, self.tensor_parallel_size
        )


@dataclass(frozen=True)
class Demand:
    """The sum for one accelerator, before any request."""

    usable_bytes: int
    weights: Term
    overhead: tuple[Term, ...]
    cache: KvCache

    @cached_property
    def overhead_bytes(self) -> int:
        """Everything beside weights and KV cache."""
        return sum(term.bytes for term in self.overhead)

    @cached_property
    def pool_bytes(self) -> int:
        """What is left for the KV cache; negative when weights and overhead alone do not fit."""
        return self.usable_bytes - self.weights.bytes - self.overhead_bytes


@lru_cache(maxsize=16384)
def demand_of(setup: EngineSetup) -> Demand:
    """The sum of one setup. Cached: remedies, candidates and the matrix ask for the same setups again."""
    if setup.engine is EngineName.TENSORRT_LLM:
        return _tensorrt(setup)
    return _vllm(setup)


def _vllm(setup: EngineSetup) -> Demand:
    overhead = [_activations(setup), _non_torch()]
    if setup.architecture.experts:
        overhead.append(_expert_workspace(setup))
    if setup.tensor_parallel_size > 1:
        overhead.append(_nccl())
    if setup.cuda_graphs and setup.version >= VLLM_GRAPH_RESERVE_SINCE:
        overhead.append(_graphs(setup))
    overhead += _extras(setup)
    return Demand(
        usable_bytes=int(setup.device_bytes * setup.utilization),
        weights=_weights(setup),
        overhead=tuple(overhead),
        cache=VllmCache(
            specs=attention_specs(setup.architecture, setup.tensor_parallel_size),
            element_bytes=setup.kv_element_bytes,
            tokens_in_flight=tokens_in_flight(setup.version, setup.batched_tokens),
            hybrid=setup.version >= VLLM_HYBRID_SINCE,
            derived_tokens=setup.version >= VLLM_DERIVED_TOKENS_SINCE,
        ),
    )


def _graphs(setup: EngineSetup) -> Term:
    """Piecewise graphs of every captured size, and full graphs of the sizes that can decode."""
    piecewise = captured_sizes(min(2 * setup.max_sequences, GRAPH_BATCHES))
    full = captured_sizes(min(setup.max_sequences, GRAPH_BATCHES))
    size = setup.architecture.layers * (piecewise + full) * GRAPH_BYTES_PER_LAYER
    formula = f"{setup.architecture.layers} layers x {piecewise + full} graphs x 180 KiB"
    return Term("CUDA graphs", size, size // 4, size * 3 // 2, formula)


def captured_sizes(largest: int) -> int:
    """How many batch sizes up to `largest` are captured."""
    small = sum(1 for size in (1, 2, 4) if size <= largest)
    return small + min(largest, 256) // 8 + max(0, largest - 256) // 16


def _extras(setup: EngineSetup) -> list[Term]:
    """Adapters and a drafter, where there are any."""
    terms = []
    if setup.adapters:
        size = (
            adapter_bytes(setup.architecture, setup.adapter_rank)
            * setup.adapters
            // setup.tensor_parallel_size
        )
        formula = f"{setup.adapters} adapters of rank {setup.adapter_rank} on all linear layers"
        terms.append(Term("adapters", size, size, int(size * 1.2), formula))
    if setup.draft_bytes:
        terms.append(
            Term("drafter", setup.draft_bytes, setup.draft_bytes, setup.draft_bytes, "weights; no cache")
        )
    return terms


def adapter_bytes(architecture: Architecture, rank: int) -> int:
    """One LoRA adapter on every linear layer: rank x (input + output) per matrix (vllm lora/layers,
    0.24.0)."""
    hidden, heads = architecture.hidden_size, architecture.attention_heads
    total = 0
    for kind in ("local", "global_"):
        layers = getattr(architecture.own_layers, kind) + getattr(architecture.shared_layers, kind)
        query = heads * getattr(architecture.head_size, kind)
        key = getattr(architecture.kv_heads, kind) * getattr(architecture.head_size, kind)
        total += layers * (2 * (hidden + query) + 2 * (hidden + key))
    total += sum(3 * (hidden + run.width) * run.layers for run in architecture.feed_forward)
    return total * rank * ADAPTER_BYTES


def tokens_in_flight(version: tuple[int, ...], batched_tokens: int) -> int:
    """X of the cache rule: batched tokens, doubled where asynchronous scheduling keeps two batches under
    way."""
    return batched_tokens * (ASYNC_BATCHES if version >= VLLM_ASYNC_BATCHES_SINCE else 1)


def _tensorrt(setup: EngineSetup) -> Demand:
    weights = _weights(setup)
    runtime = Term(
        "runtime",
        TENSORRT_RUNTIME_BYTES,
        TENSORRT_RUNTIME_BYTES // 2,
        2 * TENSORRT_RUNTIME_BYTES,
        "constant; not yet measured on a GPU",
    )
    graphs = Term(
        "CUDA graphs",
        TENSORRT_GRAPH_BYTES,
        TENSORRT_GRAPH_BYTES // 4,
        2 * TENSORRT_GRAPH_BYTES,
        "constant; not yet measured on a GPU",
    )
    overhead = [_activations(setup), runtime, graphs, *_extras(setup)]
    if setup.architecture.experts:
        overhead.append(_expert_workspace(setup))
    if setup.tensor_parallel_size > 1:
        overhead.append(_nccl())
    left = setup.device_bytes - weights.bytes
    reserve = max(0, int(left * (1 - setup.utilization)))
    peak = setup.layout.load_peak_bytes
    if peak > sum(term.bytes for term in overhead):
        extra = peak - sum(term.bytes for term in overhead)
        overhead.append(
            Term("loading peak", extra, 0, extra, "second copy of the per-layer embedding while loading")
        )
    return Demand(
        usable_bytes=setup.device_bytes - reserve,
        weights=weights,
        overhead=tuple(overhead),
        cache=TensorRTCache(
            specs=attention_specs(setup.architecture, setup.tensor_parallel_size),
            element_bytes=setup.kv_element_bytes,
            chunk_tokens=setup.batched_tokens,
        ),
    )


def _weights(setup: EngineSetup) -> Term:
    loaded = setup.layout.loaded_bytes
    return Term(
        "weights", loaded, int(loaded * 0.99), int(loaded * 1.02), "tensor groups, rotary tables, buffers"
    )


def _non_torch() -> Term:
    return Term("runtime", NON_TORCH_BYTES, 100 * MIB, 512 * MIB, "constant; 0.1-0.5 GiB in public logs")


def _nccl() -> Term:
    return Term("NCCL", NCCL_BYTES, 100 * MIB, 600 * MIB, "constant; 0.1-0.6 GiB in public logs")


def _activations(setup: EngineSetup) -> Term:
    """Peak of one step: the widest of feed-forward, sampling and image encoder, which do not coincide."""
    architecture, ranks = setup.architecture, setup.tensor_parallel_size
    per_token = HIDDEN_COPIES * architecture.hidden_size
    per_token += FEED_FORWARD_COPIES * architecture.widest_feed_forward // ranks
    text = setup.batched_tokens * per_token * RUN_TYPE_BYTES
    logit_bytes = LOGIT_BYTES_V2 if setup.version >= SAMPLER_V2_SINCE else LOGIT_BYTES
    rows = setup.max_sequences * (DRAFT_ROWS if setup.draft_bytes else 1)
    sampling = min(rows, setup.batched_tokens) * architecture.vocabulary * logit_bytes
    tower, vision = architecture.vision_tower, 0
    if setup.images and tower is not None:
        width = (
            VISION_HIDDEN_COPIES * tower.hidden_size
            + VISION_FEED_FORWARD_COPIES * tower.feed_forward // ranks
        )
        vision = setup.batched_tokens * tower.patches_per_token * width * RUN_TYPE_BYTES
    peak = max(text, sampling, vision)
    return Term(
        "activations", peak, int(peak * 0.6), int(peak * 1.6), "max(feed-forward, sampling, image encoder)"
    )


def _expert_workspace(setup: EngineSetup) -> Term:
    """Scratch of the expert kernels, as their `workspace_shapes` ask for it (vLLM 0.24.0 and 0.32.0).

    Marlin and Triton: tokens x active experts x (max(N, K) + max(2N, K)), N the width of an expert per rank
    and K the hidden size. FlashInfer, which runs NVFP4: tokens x K. Kept between steps (v1/worker/workspace
    frees it only to grow), so it adds to every peak.
    """
    architecture, scheme = setup.architecture, setup.catalog.schemes[setup.scheme]
    if architecture.experts is None:
        raise ValueError(f"{setup.architecture_key} has no experts")
    width, hidden = architecture.experts.width // setup.tensor_parallel_size, architecture.hidden_size
    per_token = architecture.experts.active * (max(width, hidden) + max(2 * width, hidden))
    if scheme.experts.startswith("nvfp4"):
        per_token = hidden
    size = setup.batched_tokens * per_token * RUN_TYPE_BYTES
    formula = f"{setup.batched_tokens} tokens x {per_token} elements"
    return Term("expert workspace", size, size // 2, int(size * 1.2), formula)


def concurrency_that_fits(demand: Demand, context: int) -> int:
    """Whole requests of that length that the pool holds."""
    if demand.pool_bytes <= 0:
        return 0
    return int(demand.cache.capacity(demand.pool_bytes, context).concurrency)


def largest_context(demand: Demand, maximum: int, step: int = 64) -> int:
    """Largest multiple of `step` that fits one request, up to `maximum`; 0 when none does."""
    low, high = 0, maximum // step
    while low < high:
        middle = (low + high + 1) // 2
        if demand.cache.request_bytes(middle * step) <= demand.pool_bytes:
            low = middle
        else:
            high = middle - 1
    return low * step


def gib_text(value: int) -> str:
    """Bytes as `12.34 GiB`."""
    return f"{value / GIB:.2f} GiB"
