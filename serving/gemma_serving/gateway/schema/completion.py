"""Body of `POST /v1/completions`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gemma_serving.gateway.schema.base import SamplingBody
from gemma_serving.gateway.schema.structured import StructuredFields

MAX_BATCH = 64
"""Prompts of one request."""
MAX_PROMPT_CHARACTERS = 8_000_000
"""Beyond any context; keeps a slip of the caller from reaching the tokenizer."""

TokenIds = Annotated[list[Annotated[int, Field(ge=0, le=2**20)]], Field(min_length=1, max_length=2**20)]
Text = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]


class CompletionRequest(SamplingBody, StructuredFields):
    """Continue a text."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_BATCH)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_BATCH)]
    )
    """A text, token ids, or a list of either (a batch)."""
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    """Log probabilities with this many alternatives per token."""
    echo: bool | None = None
    """Repeat the prompt before the answer."""

    @property
    def prompts(self) -> list[str | list[int]]:
        """The batch as a list."""
        match self.prompt:
            case str() as text:
                return [text]
            case [int(), *_] as ids:
                return [ids]  # type: ignore[list-item]
            case batch:
                return list(batch)  # type: ignore[arg-type]
