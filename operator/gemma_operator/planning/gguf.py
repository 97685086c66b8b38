"""What llama.cpp's quantiser makes of a tensor: types mix by layer and fall back by row length.

Source: llama.cpp `llama-quant.cpp` (`llama_tensor_get_type`, `use_more_bits`). Checked against published
sizes: gemma-3-12b Q4_K_M 6.79 GiB, gemma-4-26B-A4B Q4_K_M 16.9 GB, gemma-3-270m Q4_K_M 253,113,024 bytes.
"""

from collections.abc import Mapping

from gemma_operator.catalog.rows import Architecture, WeightType

SUPER_BLOCK = 256
"""K-quants store rows in super-blocks of this many weights; other rows fall back."""
FALL_BACK = {"q4_k": "q5_0", "q5_k": "q8_0", "q6_k": "q8_0"}
"""Type taken where the row is no multiple of the super-block."""
MORE_BITS = "q6_k"
"""Q4_K_M keeps the value and down projections of half of the layers in this type."""


def gguf_bits(
    types: Mapping[str, WeightType], type_name: str, architecture: Architecture, group: str
) -> float:
    """Average bits per weight of a tensor group.

    Raises:
        KeyError: no such type.
    """
    hidden = architecture.hidden_size
    if group == "attention":
        return _attention_bits(types, type_name, architecture)
    if group in ("feed_forward", "experts"):
        widths = [run.width for run in architecture.feed_forward]
        width = architecture.experts.width if group == "experts" and architecture.experts else max(widths)
        gate_up = _bits(types, type_name, hidden)
        return (2 * gate_up + _mixed_bits(types, type_name, width)) / 3
    if group == "per_layer_embedding":
        return _bits(types, type_name, SUPER_BLOCK)
    return _bits(types, type_name, hidden)


def _attention_bits(types: Mapping[str, WeightType], type_name: str, architecture: Architecture) -> float:
    """Query and key rows have hidden length, value too but with more bits, output rows heads x size."""
    heads, kv = architecture.attention_heads, architecture.kv_heads.local or architecture.kv_heads.global_
    size = architecture.head_size.local or architecture.head_size.global_
    hidden = architecture.hidden_size
    plain = _bits(types, type_name, hidden) * (heads + kv)
    value = _mixed_bits(types, type_name, hidden) * kv
    output = _bits(types, type_name, heads * size) * heads
    return (plain + value + output) / (2 * heads + 2 * kv)


def _mixed_bits(types: Mapping[str, WeightType], type_name: str, row: int) -> float:
    plain = _bits(types, type_name, row)
    return (plain + _bits(types, MORE_BITS, row)) / 2 if type_name == "q4_k" else plain


def _bits(types: Mapping[str, WeightType], type_name: str, row: int) -> float:
    if row % SUPER_BLOCK:
        type_name = FALL_BACK.get(type_name, type_name)
    return types[type_name].bits
