"""What every request body shares, and how a fault in one is worded."""

from __future__ import annotations

import difflib
import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gemma_serving.gateway.errors import ApiError, invalid

MAX_STOPS = 4
"""Stop strings of one request (OpenAI's limit)."""
MAX_STOP_CHARACTERS = 256
MAX_CHOICES = 16
"""Largest `n`: each choice takes a slot of its own."""
MAX_BIASES = 1024
"""Entries of `logit_bias`."""
MAX_TOP_LOGPROBS = 20
"""OpenAI's limit."""
MAX_TOKENS = 2**31 - 1
MAX_SEED = 2**63 - 1


class Body(BaseModel):
    """Strict types, null as unset, unknown fields refused: what OpenAI does."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StreamOptions(Body):
    """What a stream carries besides text."""

    include_usage: bool | None = None
    """Send one last chunk with `choices: []` and the token counts."""
    include_obfuscation: bool | None = None
    """Accepted for OpenAI clients; there is nothing to obfuscate inside a cluster."""


StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Stop = StopString | Annotated[list[StopString], Field(max_length=MAX_STOPS)]
Count = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]

TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,7}$")]
LogitBias = Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MAX_BIASES)]


class SamplingBody(Body):
    """Sampling and delivery: what chat and completions share."""

    model: str
    """A name that `/v1/models` lists."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0: the likeliest token each time. Default: the variant's own."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Sample from the likeliest tokens whose probabilities add up to this. Default: the variant's own."""
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    """Sample from this many likeliest tokens; 0 or -1: no limit. Default: the variant's own."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Leave out tokens less likely than this share of the likeliest."""
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    """Above 1 discourages tokens that occurred before."""
    presence_penalty: Penalty | None = None
    """Discourages tokens that occurred in the answer."""
    frequency_penalty: Penalty | None = None
    """Discourages tokens the more often they occurred in the answer."""
    max_tokens: Count | None = None
    """Longest answer. Default: what the context leaves."""
    logit_bias: LogitBias | None = None
    """Token id to what is added to its logit; ids by `/tokenize`. 400 where the engine is TensorRT-LLM."""
    stop: Stop | None = None
    """Up to four strings that end the answer; they are not part of it."""
    seed: Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)] | None = None
    """Makes sampling repeatable as far as the engine's batching allows."""
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    """Answers to give; each takes a slot."""
    stream: bool | None = None
    """Server-sent events as tokens come."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    user: Annotated[str, Field(max_length=512)] | None = None
    """Accepted and not stored."""
    ignore_eos: bool | None = None
    """Go on until `max_tokens`: for benchmarks."""
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    """Lower runs earlier, where the engine knows priorities."""

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> SamplingBody:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only allowed when stream is true")
        return self

    @property
    def stops(self) -> list[str]:
        """Stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)


B = TypeVar("B", bound=Body)


def parse(kind: type[B], raw: bytes) -> B:
    """Body of a request; raises ApiError 400 that names the field."""
    try:
        data = json.loads(raw, parse_constant=_no_constant)
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise invalid(
            "The body holds half of a surrogate pair, which is no text.", code="invalid_json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"The body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(data, dict):
        raise invalid("The body must be a JSON object.", code="invalid_json")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _refusal(kind, error) from error


def _refusal(kind: type[Body], error: ValidationError) -> ApiError:
    fault = max(error.errors(include_url=False), key=_relevance)
    path = ".".join(_path(fault["loc"]))
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = _unknown_field(kind, fault)
    elif fault["type"] == "value_error" and ": " in message and not path:
        path, message = message.split(": ", 1)
    elif fault["type"] == "missing":
        message = "this field is required"
    elif _is_short(fault.get("input")):
        message = f"{message}, got {json.dumps(fault['input'])}"
    return invalid(f"{path}: {message}" if path else message, path or None, "validation_error")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _relevance(fault: Any) -> tuple[bool, bool, int]:
    """Of a union's several complaints, the one about the branch that the caller meant."""
    kind = fault["type"]
    return (kind == "extra_forbidden", not kind.endswith("_type"), len(fault["loc"]))


def _path(location: tuple[int | str, ...]) -> list[str]:
    """The caller's own path: without the names of union branches, which pydantic puts in."""
    path: list[str] = []
    for before, part in zip((None, *location), location, strict=False):
        is_tag = (
            part in _FORMAT_TAGS if before == "response_format" else isinstance(before, int) and part in _TAGS
        )
        if isinstance(part, int) or (part.isidentifier() and part not in _BRANCHES and not is_tag):
            path.append(str(part))
    return path


_TAGS = frozenset(
    ("system", "developer", "user", "assistant", "tool", "text", "image_url", "input_audio", "refusal")
)
_FORMAT_TAGS = frozenset(("text", "json_object", "json_schema"))
_BRANCHES = frozenset(("str", "int", "float", "bool"))


def _is_short(value: Any) -> bool:
    return isinstance(value, int | float | bool | None) or (isinstance(value, str) and len(value) <= 40)


def _unknown_field(kind: type[Body], fault: Any) -> str:
    name = str(fault["loc"][-1])
    if len(fault["loc"]) > 1:
        return f"unknown field {name!r}"
    near = difflib.get_close_matches(name, kind.model_fields, n=1)
    return f"unknown field; did you mean {near[0]!r}?" if near else "unknown field"
