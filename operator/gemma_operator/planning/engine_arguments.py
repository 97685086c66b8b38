"""Engine arguments of a plan, for the exact engine version: one unknown key stops a model load."""

from typing import Any

from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.planning.cpu import BATCH_TOKENS, MICRO_BATCH_TOKENS
from gemma_operator.planning.fit import GpuFit
from gemma_operator.planning.units import version_tuple
from gemma_operator.planning.wish import Wish

VIDEO_TOKENS = 2496
"""One video of 32 frames; Gemma 4 takes a media item in one step or not at all (vllm gemma4_mm.py)."""
AUDIO_TOKENS = 750
"""One clip of 30 s at 40 ms per token."""
TELEMETRY_SINCE = (1, 3)
"""TensorRT-LLM has usage telemetry, and its off switch, from here; rendering it breaks 1.2.1."""


def media_limits(fit: GpuFit, wish: Wish) -> dict[str, int]:
    """Items of each kind that one prompt may hold: what `media.maxItems` says (vLLM's own limit is 999).

    A kind whose item does not fit one step is left out. Requests bring images and sounds; of videos one is
    enough to keep the encoder loaded.
    """
    step, most = fit.setup.batched_tokens, wish.media_items
    modalities = wish.variant.modalities
    if fit.version.engine is EngineName.TENSORRT_LLM or "image" not in modalities:
        return {}
    return {
        "image": most,
        "video": min(1, most) if "video" in modalities and step >= VIDEO_TOKENS else 0,
        "audio": most if "audio" in modalities and step >= AUDIO_TOKENS else 0,
    }


def modalities_of(fit: GpuFit, wish: Wish) -> tuple[str, ...]:
    """What the plan can take in: text, and the media whose limit is not zero."""
    return ("text", *(kind for kind, limit in media_limits(fit, wish).items() if limit))


def llama_cpp_arguments() -> dict[str, Any]:
    """Step sizes; the engine derives slots, context and threads from the runtime configuration."""
    return {"n_batch": BATCH_TOKENS, "n_ubatch": MICRO_BATCH_TOKENS}


def gpu_arguments(fit: GpuFit, wish: Wish) -> dict[str, Any]:
    """Arguments of vLLM's AsyncEngineArgs, or of TensorRT-LLM's LLM."""
    if fit.version.engine is EngineName.TENSORRT_LLM:
        return _tensorrt(fit, wish)
    return _vllm(fit, wish)


def _vllm(fit: GpuFit, wish: Wish) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "tensor_parallel_size": fit.count,
        "max_model_len": wish.context,
        "max_num_seqs": fit.concurrency,
        "max_num_batched_tokens": fit.setup.batched_tokens,
        "gpu_memory_utilization": fit.setup.utilization,
        "dtype": "float16" if fit.checkpoint.precision is Precision.FP16 else "bfloat16",
    }
    if fit.setup.kv_element_bytes == 1:
        arguments["kv_cache_dtype"] = "fp8"
    limits = media_limits(fit, wish)
    if limits:
        arguments["limit_mm_per_prompt"] = limits
    if fit.checkpoint.quantized_at_load:
        arguments["quantization"] = "fp8"
    return arguments


def _tensorrt(fit: GpuFit, wish: Wish) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "tensor_parallel_size": fit.count,
        "max_seq_len": wish.context,
        "max_batch_size": fit.concurrency,
        "max_num_tokens": fit.setup.batched_tokens,
        "enable_chunked_prefill": True,
        "kv_cache_config": {
            "free_gpu_memory_fraction": fit.setup.utilization,
            # Reuse and sliding windows together are unproven on Gemma (engine facts, section 8).
            "enable_block_reuse": False,
        },
    }
    window = wish.architecture.sliding_window
    version = version_tuple(fit.version.version)
    if window is not None and version < TELEMETRY_SINCE:
        # 1.2.1 does not read the windows from the layer types; the list is repeated over the layers.
        arguments["kv_cache_config"]["max_attention_window"] = _window_pattern(wish, window)
    if version >= TELEMETRY_SINCE:
        arguments["telemetry_config"] = {"disabled": True}
    return arguments


def _window_pattern(wish: Wish, window: int) -> list[int]:
    """One period of the layer pattern: local layers, then a global one."""
    own = wish.architecture.own_layers
    local_per_global = own.local // own.global_  # the last period may lack its global layer
    return [min(window, wish.context)] * local_per_global + [wish.context]
