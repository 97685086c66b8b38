"""A runtime.json as the operator writes it, for tests that need no weights."""

from __future__ import annotations

from typing import Any

from gemma_serving.contract import RuntimeConfig


def runtime_config(**changes: Any) -> RuntimeConfig:
    """Return a small llama.cpp deployment of Gemma 3 270M."""
    fields: dict[str, Any] = {
        "model": "demo",
        "variant": "gemma-3-270m",
        "family": "gemma3",
        "engine": "llamacpp",
        "engine_version": "b11549",
        "precision": "Q4_K_M",
        "weights_path": "/weights/model.gguf",
        "context_length": 100,
        "max_concurrent_requests": 2,
        "max_queued_requests": 4,
        "request_timeout_seconds": 10,
        "drain_seconds": 10,
    }
    return RuntimeConfig(**{**fields, **changes})
