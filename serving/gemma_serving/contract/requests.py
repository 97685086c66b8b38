"""What the gateway asks of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from gemma_serving.contract.codec import Message


@dataclass(frozen=True, slots=True)
class Structure(Message):
    """Constrained decoding: exactly one of the fields."""

    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    """EBNF (GBNF for llama.cpp)."""
    regex: str | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest(Message):
    """One sequence to generate."""

    _nested: ClassVar[dict[str, type]] = {"structure": Structure}

    id: str
    prompt: str | None = None
    """Templated text without BOS; the engine adds exactly one."""
    token_ids: list[int] | None = None
    """Alternative to prompt: ids with BOS."""
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[str, float] | None = None
    """Token id, in decimal, to what is added to its logit."""
    stop: list[str] = field(default_factory=list)
    """Never shown in the output. The family's own stop tokens always apply as well."""
    seed: int | None = None
    logprobs: int | None = None
    """Alternatives to report per token; 0 reports the chosen token only."""
    ignore_eos: bool = False
    structure: Structure | None = None
    adapter: str | None = None
    """LoRA adapter by name."""
    priority: int = 0
    """Lower runs earlier, where the engine knows priorities."""
    wants_token_ids: bool | None = None
    """True: the answer's `accepted` tells the ids of the prompt."""
    trace_context: dict[str, str] | None = None
    """W3C headers (`traceparent`, `tracestate`) of the span that the engine works for."""
