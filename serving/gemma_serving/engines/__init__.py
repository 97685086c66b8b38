"""Engines behind one protocol: what a pod's Triton model drives, whatever generates the tokens.

Standard library and the engine's own package only: this folder is copied beside model.py into images that are
not ours.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Final, cast

from gemma_serving.contract import EngineKind
from gemma_serving.engines.protocol import Engine

_IMPLEMENTATIONS: Final[dict[EngineKind, tuple[str, str]]] = {
    EngineKind.LLAMA_CPP: ("gemma_serving.engines.llamacpp", "LlamaCppEngine"),
    EngineKind.VLLM: ("gemma_serving.engines.vllm", "VllmEngine"),
    EngineKind.TENSORRT_LLM: ("gemma_serving.engines.tensorrt_llm", "TensorRTLLMEngine"),
}

_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",  # the weights lie on the volume; no look at the hub
    "DO_NOT_TRACK": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Read by the libraries when they are imported; what the pod sets wins."""


def create_engine(kind: str) -> Engine:
    """Return the unloaded engine of this kind; ValueError names the known kinds.

    Imports only that engine's module: no image carries all three libraries.
    """
    try:
        module, name = _IMPLEMENTATIONS[EngineKind(kind)]
    except ValueError:
        known = ", ".join(kind.value for kind in EngineKind)
        raise ValueError(f"unknown engine {kind!r}; known: {known}") from None
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    return cast(Engine, getattr(import_module(module), name)())


__all__ = ["Engine", "create_engine"]
