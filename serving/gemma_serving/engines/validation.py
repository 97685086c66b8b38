"""Checks made before any engine sees a request: bad input gets the same words from all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gemma_serving.contract import FailureCode, GenerateRequest, MediaConfig, RuntimeConfig
from gemma_serving.engines.families import media_kinds
from gemma_serving.engines.protocol import EngineFailureError

_CONSTRAINTS: Final = ("json_schema", "grammar", "regex")
MAX_LOGPROBS: Final = 20
"""Alternatives per token; the OpenAI API's and vLLM's limit."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class _Rule:
    field: str
    holds: Callable[[Any], bool]
    wanted: str


_RULES: Final = (
    _Rule("id", lambda v: isinstance(v, str) and v != "", "a text that is not empty"),
    _Rule("prompt", lambda v: v is None or isinstance(v, str), "a text"),
    _Rule(
        "token_ids",
        lambda v: v is None or (isinstance(v, list) and all(_integer(i) and i >= 0 for i in v)),
        "token ids",
    ),
    _Rule("max_tokens", lambda v: _integer(v) and v >= 1, "a whole number of at least 1"),
    _Rule("temperature", lambda v: _number(v) and v >= 0, "a number of at least 0"),
    _Rule("top_p", lambda v: _number(v) and 0 < v <= 1, "a number above 0 and up to 1"),
    _Rule("top_k", lambda v: _integer(v) and v >= 0, "a whole number of at least 0 (0: no limit)"),
    _Rule("min_p", lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    _Rule("repetition_penalty", lambda v: _number(v) and v > 0, "a number above 0 (1: none)"),
    _Rule("presence_penalty", lambda v: _number(v) and -2 <= v <= 2, "a number from -2 to 2"),
    _Rule("frequency_penalty", lambda v: _number(v) and -2 <= v <= 2, "a number from -2 to 2"),
    _Rule(
        "stop",
        lambda v: isinstance(v, list) and all(isinstance(s, str) and s for s in v),
        "texts that are not empty",
    ),
    _Rule("seed", lambda v: v is None or _integer(v), "a whole number"),
    _Rule(
        "logprobs", lambda v: v is None or (_integer(v) and 0 <= v <= MAX_LOGPROBS), f"0 to {MAX_LOGPROBS}"
    ),
    _Rule("ignore_eos", lambda v: isinstance(v, bool), "true or false"),
    _Rule("priority", _integer, "a whole number"),
)


def _refused(param: str, message: str, code: FailureCode = FailureCode.INVALID_REQUEST) -> EngineFailureError:
    return EngineFailureError(code, message, param)


def validate(request: GenerateRequest, media: Sequence[bytes], config: RuntimeConfig) -> None:
    """Raise EngineFailureError naming the first field at fault, its value, and what it should be."""
    for rule in _RULES:
        value = getattr(request, rule.field)
        if not rule.holds(value):
            raise _refused(rule.field, f"{rule.field} must be {rule.wanted}; got {_shown(value)}")
    if (request.prompt is None) == (request.token_ids is None):
        raise _refused("prompt", "exactly one of prompt and token_ids must be given")
    _validate_structure(request)
    if request.adapter is not None and request.adapter not in config.adapters:
        loaded = ", ".join(sorted(config.adapters)) or "none"
        raise _refused("adapter", f"adapter {request.adapter!r} is not loaded; loaded: {loaded}")
    if media and set(config.modalities) <= {"text"}:
        raise _refused(
            "media",
            f"{config.variant} as deployed takes text only; got {len(media)} media item(s)",
            FailureCode.UNSUPPORTED,
        )
    most = (config.media or MediaConfig()).max_items
    if len(media) > most:
        raise _refused("media", f"the request carries {len(media)} media items; at most {most} are allowed")
    if media and request.prompt is None:
        raise _refused("token_ids", "media needs a text prompt: its placeholders say where each item goes")
    places = len(media_kinds(request.prompt or "", config.family)) if media else 0
    if places != len(media):
        message = f"the prompt has {places} media placeholder(s), the request carries {len(media)} item(s)"
        raise _refused("media", message)


def _validate_structure(request: GenerateRequest) -> None:
    structure = request.structure
    if structure is None:
        return
    given = [name for name in _CONSTRAINTS if getattr(structure, name) is not None]
    if len(given) != 1:
        message = (
            f"structure must have exactly one of {', '.join(_CONSTRAINTS)}; got {', '.join(given) or 'none'}"
        )
        raise _refused("structure", message)
    if structure.json_schema is not None and not isinstance(structure.json_schema, dict):
        raise _refused("structure", f"json_schema must be an object; got {_shown(structure.json_schema)}")


def refuse_beside_a_drafter(request: GenerateRequest, names: Sequence[str]) -> None:
    """Raise EngineFailureError for the first of these fields that is set: their own words come late."""
    neutral = GenerateRequest(id="neutral")
    for name in names:
        value = getattr(request, name)
        if value and value != getattr(neutral, name):
            message = f"{name} is not available: this deployment drafts tokens ahead, and samples without it"
            raise _refused(name, message, FailureCode.UNSUPPORTED)


def _shown(value: Any) -> str:
    """Type and a short form: the value may be long, and is the user's."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}... ({type(value).__name__})"


def answer_budget(prompt_tokens: int, request: GenerateRequest, config: RuntimeConfig) -> int:
    """Return how many tokens may be generated: max_tokens, or what the context leaves.

    Raises EngineFailureError (context_length_exceeded) with both numbers where the prompt leaves no room for
    an answer.
    """
    room = config.context_length - prompt_tokens
    if room < 1:
        raise EngineFailureError(
            FailureCode.CONTEXT_LENGTH_EXCEEDED,
            f"the prompt has {prompt_tokens} tokens, the context length is {config.context_length} tokens "
            f"(prompt plus answer): shorten the prompt by at least {1 - room} token(s), or deploy with a "
            "larger contextLength",
            "prompt" if request.prompt is not None else "token_ids",
        )
    return min(request.max_tokens, room)
