"""KV cache per engine: how many bytes a request takes, and what a pool of bytes holds.

Each engine's rule is one class with the same three answers: `request_bytes`, `capacity` and
`reported_tokens`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from gemma_operator.planning.attention import AttentionSpecs
from gemma_operator.planning.units import ceil_div

VLLM_GPU_BLOCK_TOKENS = 16
"""vLLM's block size on CUDA; its CPU build uses 128 (cpu-engines facts, section 2)."""
VLLM_GROUP_RATIO = 1.5
"""vLLM kv_cache_utils: the larger layer count is the group size when it is below this multiple of the
smaller."""
VLLM_HYBRID_SINCE = (0, 10)
"""Before, every layer kept the full context."""
VLLM_DERIVED_TOKENS_SINCE = (0, 21)
"""From here the logged `GPU KV cache size` is concurrency x max_model_len (vllm issue 51041)."""
TENSORRT_BLOCK_TOKENS = 32
"""TensorRT-LLM KvCacheConfig.tokens_per_block."""
LLAMACPP_CELL_PADDING = 256
"""llama.cpp pads the cells of its sliding-window cache to this."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a pool holds at one context length."""

    concurrency: float
    """Requests of full length at once."""
    tokens: int
    """As the engine's log reports it."""


class KvCache(Protocol):
    """The cache rule of one engine for one model body on one rank."""

    def request_bytes(self, context: int) -> int:
        """Bytes that one request of full length reserves."""
        ...

    def capacity(self, pool_bytes: int, context: int) -> Capacity:
        """What a pool of that size holds."""
        ...


@dataclass(frozen=True)
class VllmCache:
    """vLLM's paged pool with layer groups (kv_cache_utils; read in 0.24.0, 0.27.1 and 0.32.0).

    Local and global layers share pages of equal bytes. Layers form groups of equal size, the last ones
    padded, and each group takes pages of its own. A local group holds the window plus the tokens being
    prefilled, plus one page.
    """

    specs: AttentionSpecs
    element_bytes: int
    tokens_in_flight: int
    """max_num_batched_tokens, times the batches in flight where asynchronous scheduling counts them (0.26
    on)."""
    base_block: int = VLLM_GPU_BLOCK_TOKENS
    hybrid: bool = True
    """False: every layer keeps the full context (disable_hybrid_kv_cache_manager, TPU, versions before
    0.10)."""
    derived_tokens: bool = True

    @cached_property
    def group_layers(self) -> int:
        """Layers that each group is charged for, padding included."""
        local, global_ = self.specs.local.layers, self.specs.global_.layers
        smaller, larger = sorted((local, global_))
        if smaller == 0:
            return larger
        return larger if larger < VLLM_GROUP_RATIO * smaller else smaller

    @cached_property
    def layout(self) -> tuple[int, int, int, int]:
        """Local groups, global groups, tokens of a local block, tokens of a global block."""
        group = self.group_layers
        widest = self.width
        local, global_ = self.specs.local, self.specs.global_
        return (
            ceil_div(local.layers, group),
            ceil_div(global_.layers, group),
            self.base_block * widest // local.width,
            self.base_block * widest // global_.width,
        )

    @cached_property
    def width(self) -> int:
        """Elements of the wider kind's key per token: both kinds' pages have as many bytes."""
        kinds = [spec.width for spec in (self.specs.local, self.specs.global_) if spec.layers]
        return max(kinds)

    @cached_property
    def block_bytes(self) -> int:
        """Bytes of one page: keys and values of one group for one block of tokens."""
        return self.group_layers * 2 * self.width * self.base_block * self.element_bytes

    def request_blocks(self, context: int) -> int:
        """Pages that one request of that length reserves, all groups together."""
        local_groups, global_groups, local_block, global_block = self.layout
        window = self.specs.local.window
        local_tokens = context if window is None else min(window - 1 + self.tokens_in_flight, context)
        local_pages = local_groups * (ceil_div(local_tokens, local_block) + 1)
        return local_pages + global_groups * ceil_div(context, global_block)

    def request_bytes(self, context: int) -> int:
        """Bytes that one request of full length reserves."""
        if not self.hybrid:
            return self._full_block_bytes() * ceil_div(context, self.base_block)
        return self.request_blocks(context) * self.block_bytes

    def _full_block_bytes(self) -> int:
        return self.specs.full_bytes(self.base_block, self.element_bytes)

    def capacity(self, pool_bytes: int, context: int) -> Capacity:
        """Concurrency and tokens as the start-up log prints them."""
        if not self.hybrid:
            tokens = pool_bytes // self._full_block_bytes() * self.base_block
            return Capacity(concurrency=tokens / context, tokens=tokens)
        blocks = pool_bytes // self.block_bytes
        concurrency = blocks / self.request_blocks(context)
        if self.derived_tokens:
            return Capacity(concurrency=concurrency, tokens=int(concurrency * context))
        local_groups, global_groups, _, _ = self.layout
        return Capacity(
            concurrency=concurrency, tokens=blocks // (local_groups + global_groups) * self.base_block
        )


@dataclass(frozen=True, slots=True)
class TensorRTCache:
    """TensorRT-LLM's pools: one per window, blocks of 32 tokens.

    The windowed pool holds the window and the chunk being prefilled (margin inferred; no public log of the
    split).
    """

    specs: AttentionSpecs
    element_bytes: int
    chunk_tokens: int
    """max_num_tokens with chunked prefill."""

    def request_bytes(self, context: int) -> int:
        """Bytes of both pools for one request of full length."""
        window = self.specs.local.window
        local_tokens = context if window is None else min(window + self.chunk_tokens, context)
        local = self.specs.local.bytes_per_token(self.element_bytes) * _in_blocks(local_tokens)
        return local + self.specs.global_.bytes_per_token(self.element_bytes) * _in_blocks(context)

    def capacity(self, pool_bytes: int, context: int) -> Capacity:
        """What a pool of that size holds."""
        concurrency = pool_bytes / self.request_bytes(context)
        return Capacity(concurrency=concurrency, tokens=int(concurrency * context))


@dataclass(frozen=True, slots=True)
class LlamaCppCache:
    """llama.cpp's cache: slots of fixed length, and a sliding-window cache per slot."""

    specs: AttentionSpecs
    element_bytes: int
    micro_batch: int
    """n_ubatch: tokens evaluated at once; the window cache holds window + n_ubatch cells."""

    def request_bytes(self, context: int) -> int:
        """Bytes of one slot."""
        window = self.specs.local.window
        cells = context
        if window is not None:
            padded = ceil_div(window + self.micro_batch, LLAMACPP_CELL_PADDING) * LLAMACPP_CELL_PADDING
            cells = min(padded, context)
        local = self.specs.local.bytes_per_token(self.element_bytes) * cells
        return local + self.specs.global_.bytes_per_token(self.element_bytes) * context

    def capacity(self, pool_bytes: int, context: int) -> Capacity:
        """What a pool of that size holds; llama.cpp counts slots x context."""
        concurrency = pool_bytes / self.request_bytes(context)
        return Capacity(concurrency=concurrency, tokens=int(concurrency) * context)


def _in_blocks(tokens: int) -> int:
    return ceil_div(tokens, TENSORRT_BLOCK_TOKENS) * TENSORRT_BLOCK_TOKENS
