"""Which engines the conformance suite runs against, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gemma_serving.contract import RuntimeConfig
from gemma_serving.engines import Engine, create_engine
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


CASES: Final[dict[str, Callable[[], EngineCase]]] = {
    "llamacpp-real-gemma-3-270m": llamacpp_on_real_gemma,
}
