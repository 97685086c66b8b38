"""Which engines the conformance suite runs against, and what each of them needs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gemma_serving.contract import RuntimeConfig
from gemma_serving.engines import Engine, create_engine
from support import tensorrt_llm_double, vllm_runtime
from support.runtime_configs import runtime_config
from support.triton_runtime import gemma_270m_config


@dataclass(frozen=True)
class EngineCase:
    """An engine with a configuration small enough for a test."""

    config: RuntimeConfig
    create: Callable[[], Engine]


def llamacpp_on_real_gemma() -> EngineCase:
    """Return the real library with the real Gemma 3 270M (base model, Q4_K_M)."""
    config = gemma_270m_config(context_length=512, max_concurrent_requests=2)
    return EngineCase(config, lambda: create_engine("llamacpp"))


def tensorrt_llm_on_a_double() -> EngineCase:
    """Return our adapter on a double of the LLM API with a toy model: the real library needs a GPU."""
    tensorrt_llm_double.install()
    config = runtime_config(
        engine="tensorrt_llm", engine_version="1.2.1", precision="BF16", context_length=512
    )
    return EngineCase(
        replace(config, weights_path=tempfile.gettempdir()), lambda: create_engine("tensorrt_llm")
    )


def vllm_on_real_gemma() -> EngineCase:
    """Return the real library on CPU with the real Gemma 3 270M; only inside its own environment."""
    return EngineCase(vllm_runtime.gemma_270m_on_cpu(), lambda: create_engine("vllm"))


DEFAULT_CASES: Final = ("llamacpp-real-gemma-3-270m", "tensorrt-llm-double")
CASES: Final[dict[str, Callable[[], EngineCase]]] = {
    "llamacpp-real-gemma-3-270m": llamacpp_on_real_gemma,
    "tensorrt-llm-double": tensorrt_llm_on_a_double,
    "vllm-real-gemma-3-270m": vllm_on_real_gemma,
}
