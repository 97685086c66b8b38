"""Hugging Face configurations with a Gemma variant's true KV cache and next to nothing else."""

from __future__ import annotations

from typing import Any, Final

from gemma_operator.catalog.rows import Architecture

HIDDEN_SIZE: Final = 64
FEED_FORWARD: Final = 64
VOCABULARY: Final = 512

_CLASSES: Final = {
    "gemma1": ("gemma", "GemmaForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "gemma4": ("gemma4_text", "Gemma4ForCausalLM"),
}


def layer_types(architecture: Architecture) -> list[str]:
    """Return each layer's kind; the pattern is so many local layers, then a global one."""
    own = architecture.own_layers
    if not own.local:
        return ["full_attention"] * architecture.layers
    period = (own.local + own.global_) // own.global_
    types = [
        "full_attention" if (index + 1) % period == 0 else "sliding_attention"
        for index in range(architecture.layers)
    ]
    counted = types[: own.local + own.global_]
    assert counted.count("full_attention") == own.global_, (
        "the pattern differs from the catalogue's layer counts"
    )
    return types


def tiny_config(architecture: Architecture, window: int | None = None) -> dict[str, Any]:
    """Return a config.json: true layers, heads, head sizes and window; tiny hidden size and vocabulary.

    Experts are left out: they hold no keys and values.
    """
    model_type, class_name = _CLASSES[next(name for name in _CLASSES if architecture.body.startswith(name))]
    config: dict[str, Any] = {
        "architectures": [class_name],
        "model_type": model_type,
        "dtype": "bfloat16",
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": FEED_FORWARD,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 131072,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.attention_heads,
        "num_key_value_heads": architecture.kv_heads.local or architecture.kv_heads.global_,
        "head_dim": architecture.head_size.local or architecture.head_size.global_,
        "hidden_activation": "gelu_pytorch_tanh",
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    if architecture.own_layers.local:
        config |= {
            "sliding_window": window or architecture.sliding_window,
            "layer_types": layer_types(architecture),
        }
    if model_type == "gemma4_text":
        shared = architecture.shared_layers
        config |= {
            "global_head_dim": architecture.head_size.global_,
            "num_global_key_value_heads": architecture.kv_heads.global_,
            "attention_k_eq_v": architecture.keys_are_values,
            "num_kv_shared_layers": shared.local + shared.global_,
            "hidden_size_per_layer_input": 16 if shared.local else 0,
            "vocab_size_per_layer_input": VOCABULARY,
            "enable_moe_block": False,
        }
    return config
