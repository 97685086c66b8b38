"""What the engine answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from gemma_serving.contract.codec import ContractError, Message


@dataclass(frozen=True, slots=True)
class Accepted(Message):
    """The engine took the request."""

    prompt_tokens: int
    token_ids: list[int] | None = None
    """Of the prompt, BOS included; only where the request wants them."""


@dataclass(frozen=True, slots=True)
class TopLogprob(Message):
    """One alternative at a position."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob(Message):
    """Log probability of one generated token, with the best alternatives."""

    _nested: ClassVar[dict[str, type]] = {"top": TopLogprob}

    token: str
    logprob: float
    top: list[TopLogprob] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Delta(Message):
    """Text of one or more tokens; valid UTF-8 on its own."""

    _nested: ClassVar[dict[str, type]] = {"logprobs": TokenLogprob}

    text: str
    tokens: int
    logprobs: list[TokenLogprob] | None = None


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Finished(Message):
    """The end of a sequence."""

    reason: str
    """A FinishReason value."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class FailureCode(StrEnum):
    """What went wrong, in terms that the gateway maps to OpenAI errors."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    UNSUPPORTED = "unsupported"
    OVERLOADED = "overloaded"
    ENGINE_ERROR = "engine_error"


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """The sequence could not be generated, or broke off."""

    code: str
    """A FailureCode value."""
    message: str
    param: str | None = None
    """Request field at fault."""


@dataclass(frozen=True, slots=True)
class GenerateEvent(Message):
    """Exactly one field is set. Order: accepted, delta*, then finished or failed; failed may come first."""

    _nested: ClassVar[dict[str, type]] = {
        "accepted": Accepted,
        "delta": Delta,
        "finished": Finished,
        "failed": Failed,
    }

    accepted: Accepted | None = None
    delta: Delta | None = None
    finished: Finished | None = None
    failed: Failed | None = None

    def __post_init__(self) -> None:
        """Refuse events that say nothing or two things."""
        if sum(v is not None for v in (self.accepted, self.delta, self.finished, self.failed)) != 1:
            raise ContractError("GenerateEvent: exactly one of accepted, delta, finished, failed must be set")


@dataclass(frozen=True, slots=True)
class AdapterState(Message):
    """One LoRA adapter that the engine was asked to hold."""

    name: str
    path: str
    failure: str | None = None
    """Why it is not loaded; None: it answers requests."""


@dataclass(frozen=True, slots=True)
class EngineStats(Message):
    """What the engine is doing now."""

    _nested: ClassVar[dict[str, type]] = {"adapters": AdapterState}

    running: int
    waiting: int
    kv_used_tokens: int
    kv_total_tokens: int
    tokens_generated_total: int
    last_step_unix: float
    """When the engine last finished a step (seconds since the epoch); 0 before the first."""
    adapters: list[AdapterState] | None = None
    """By name. None: those it was started with."""
