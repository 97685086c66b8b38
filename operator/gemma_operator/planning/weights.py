"""Bytes of the weights: each tensor group in its own type, as the file stores it and as one rank loads it."""

from dataclasses import dataclass
from functools import lru_cache

from gemma_operator.api.quantity import MIB
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.rows import Architecture, Scheme
from gemma_operator.planning.gguf import gguf_bits
from gemma_operator.planning.units import ceil_div

BITS = 8
RUN_TYPE_BYTES = 2
"""BF16 and FP16: activations, rotary tables, cache elements by default."""
LOADED_BUFFERS_BYTES = 50 * MIB
"""Norm buffers, position ids and allocator rounding beside the tensors. Over 8 public vLLM logs the
remainder after tensors and rotary tables is 30-160 MiB; band +100 / -50 MiB."""
GGUF_METADATA_BYTES_PER_TOKEN = 25
"""GGUF stores text, score and type of every vocabulary entry: 6.6 MB for 262,144 (file less tensors, Gemma 3
270M)."""


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """One group of tensors: how many parameters, in how many bits, and whether ranks share them."""

    name: str
    parameters: int
    bits: float
    split: bool
    """Divided over the ranks; else every rank holds all of it."""
    in_file: bool = True
    in_memory: bool = True
    read_per_token: bool = True
    """Decoding one token reads it from memory (tables are looked up, towers idle)."""

    @property
    def bytes(self) -> int:
        """Bytes of the whole group."""
        return int(self.parameters * self.bits / BITS)


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """Weights of one checkpoint as one engine holds them."""

    groups: tuple[TensorGroup, ...]
    file_bytes: int
    loaded_bytes: int
    """Per rank, rotary tables and buffers included."""
    load_peak_bytes: int
    """Extra per rank while loading (TensorRT-LLM copies the per-layer embedding once; NVIDIA/TensorRT-LLM
    14942)."""
    read_bytes_per_token: float
    """Per rank and decode step at batch one; experts counted as active."""
    expert_bytes: int
    """Per rank, all experts."""
    active_parameters: float
    """Multiplied per token over all ranks; experts counted as active, output head included."""


@lru_cache(maxsize=4096)
def weight_layout(
    catalog: Catalog, architecture_key: str, scheme_key: str, engine: EngineName, tensor_parallel_size: int
) -> WeightLayout:
    """Layout of a body in a scheme; cached, since planning asks for it for every accelerator.

    Raises:
        KeyError: the catalogue has no such body or scheme.
    """
    architecture = catalog.architectures[architecture_key]
    scheme = catalog.schemes[scheme_key]
    groups = tuple(_groups(catalog, architecture, scheme, engine, tensor_parallel_size))
    ranks = tensor_parallel_size
    loaded = sum(ceil_div(g.bytes, ranks if g.split else 1) for g in groups if g.in_memory)
    experts = sum(ceil_div(g.bytes, ranks) for g in groups if g.name == "experts")
    read = sum(
        g.bytes / (ranks if g.split else 1) for g in groups if g.read_per_token and g.name != "experts"
    )
    active = sum(g.parameters for g in groups if g.read_per_token and g.name != "experts")
    share = architecture.experts.active / architecture.experts.count if architecture.experts else 0.0
    gguf = scheme.gguf
    metadata = GGUF_METADATA_BYTES_PER_TOKEN * architecture.vocabulary if gguf else 0
    per_layer = next((g.bytes for g in groups if g.name == "per_layer_embedding"), 0)
    return WeightLayout(
        groups=groups,
        file_bytes=sum(g.bytes for g in groups if g.in_file) + metadata,
        loaded_bytes=loaded + (metadata if gguf else rope_table_bytes(architecture) + LOADED_BUFFERS_BYTES),
        load_peak_bytes=ceil_div(per_layer, ranks) if engine is EngineName.TENSORRT_LLM else 0,
        read_bytes_per_token=read + experts * share,
        expert_bytes=experts,
        active_parameters=active + architecture.parameters.experts * share,
    )


def rope_table_bytes(architecture: Architecture) -> int:
    """Cosine and sine tables that vLLM keeps per attention kind: one row of head size per position."""
    rows, size = architecture.rope_rows, architecture.head_size
    return RUN_TYPE_BYTES * (rows.local * size.local + rows.global_ * size.global_)


def _groups(
    catalog: Catalog, architecture: Architecture, scheme: Scheme, engine: EngineName, ranks: int
) -> list[TensorGroup]:
    p = architecture.parameters

    def bits(type_name: str, group: str) -> float:
        if scheme.gguf:
            return gguf_bits(catalog.types, type_name, architecture, group)
        return catalog.types[type_name].bits

    towers = p.vision + p.audio
    text_only = scheme.gguf
    groups = [
        TensorGroup(
            "attention", architecture.attention_parameters, bits(scheme.attention, "attention"), True
        ),
        TensorGroup(
            "feed_forward",
            architecture.feed_forward_parameters,
            bits(scheme.feed_forward, "feed_forward"),
            True,
        ),
        TensorGroup("embedding", p.embedding, bits(scheme.embedding, "embedding"), True),
        TensorGroup("rest", architecture.remaining_parameters, bits(scheme.rest, "rest"), False),
    ]
    if p.experts:
        groups.append(TensorGroup("experts", p.experts, bits(scheme.experts, "experts"), True))
    if p.per_layer_embedding:
        per_layer = bits(scheme.per_layer_embedding, "per_layer_embedding")
        groups.append(
            TensorGroup("per_layer_embedding", p.per_layer_embedding, per_layer, True, read_per_token=False)
        )
    if towers and not text_only:
        groups.append(
            TensorGroup("towers", towers, bits(scheme.towers, "towers"), True, read_per_token=False)
        )
    if p.projector and not text_only:
        groups.append(
            TensorGroup("projector", p.projector, bits(scheme.towers, "towers"), False, read_per_token=False)
        )
    if scheme.output_table is not None:
        table = catalog.types[scheme.output_table].bits
        loaded = scheme.output_table_loaded
        groups.append(
            TensorGroup("output_table", p.embedding, table, True, in_memory=loaded, read_per_token=False)
        )
    return groups + _engine_copies(architecture, bits(scheme.attention, "attention"), engine, ranks)


def _engine_copies(
    architecture: Architecture, bits: float, engine: EngineName, ranks: int
) -> list[TensorGroup]:
    """Tensors that an engine holds beyond the file's, or does without (negative)."""
    hidden, heads, size = architecture.hidden_size, architecture.kv_heads, architecture.head_size
    own, shared = architecture.own_layers, architecture.shared_layers
    copies: list[TensorGroup] = []
    if engine is EngineName.LLAMA_CPP:
        return copies
    if architecture.keys_are_values:
        values = own.global_ * hidden * heads.global_ * size.global_
        copies.append(TensorGroup("values_of_keys", values, bits, True, in_file=False))
    replicated = 0
    for layers, kv_heads, head_size in (
        (own.local + shared.local, heads.local, size.local),
        (own.global_ + shared.global_, heads.global_, size.global_),
    ):
        if layers and ranks > kv_heads:
            replicated += 2 * layers * hidden * head_size * (ranks - kv_heads)
    if replicated:
        copies.append(TensorGroup("replicated_kv", replicated, bits, True, in_file=False))
    if engine is EngineName.TENSORRT_LLM and architecture.parameters.used < architecture.parameters.file:
        dropped = architecture.parameters.used - architecture.parameters.file
        copies.append(TensorGroup("dropped_kv", dropped, bits, True, in_file=False))
    return copies
