"""The contract: the only thing that operator, gateway and Triton model share.

Standard library only: inside NVIDIA's unmodified images this module is imported by the Python backend, next
to whatever versions of third-party packages those images carry.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

MODEL_NAME = "gemma"
"""Name of the one Triton model."""
STATS_REQUEST = '{"stats":true}'
"""Sent as the `request` tensor instead of a GenerateRequest: one JSON EngineStats comes back in `event`.

A dead engine answers with a Triton error instead. Why not a model of its own:
docs/design/20261125-engine-stats.md.
"""
REQUEST_TENSOR = "request"
"""BYTES[1]: JSON GenerateRequest."""
MEDIA_TENSOR = "media"
"""BYTES[-1], optional: decoded image or audio bytes, in prompt order."""
EVENT_TENSOR = "event"
"""BYTES[1]: JSON GenerateEvent, or JSON EngineStats where STATS_REQUEST asked."""


class ContractError(ValueError):
    """A message does not match the contract; the text names the field."""


class _Message:
    """JSON codec of the dataclasses below: unset optional fields are left out, unknown fields are refused."""

    _nested: ClassVar[dict[str, type]] = {}

    def to_json(self) -> str:
        """Compact JSON, keys in field order, `None` left out."""
        return json.dumps(_plain(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse; raises ContractError naming an unknown or missing field."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ContractError(f"{cls.__name__}: not JSON: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Build from a plain mapping; raises ContractError naming an unknown or missing field."""
        if not isinstance(data, dict):
            raise ContractError(f"{cls.__name__}: expected an object, got {type(data).__name__}")
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(data) - known)
        if unknown:
            names = ", ".join(sorted(known))
            raise ContractError(f"{cls.__name__}: unknown field {unknown[0]!r}; known: {names}")
        given = {name: kind for name, kind in cls._nested.items() if data.get(name) is not None}
        nested = {name: _nested_value(kind, data[name]) for name, kind in given.items()}
        try:
            return cls(**{**data, **nested})
        except TypeError as error:
            raise ContractError(f"{cls.__name__}: {error}") from error


def _nested_value(kind: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [kind.from_dict(item) for item in value]
    return kind.from_dict(value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


class EngineKind(StrEnum):
    """Which implementation of the Engine protocol the Triton model loads."""

    LLAMA_CPP = "llamacpp"
    VLLM = "vllm"
    TENSORRT_LLM = "tensorrt_llm"


@dataclass(frozen=True, slots=True)
class SamplingDefaults(_Message):
    """What a request gets that names no value of its own (the variant's generation config)."""

    temperature: float = 1.0
    top_k: int = 0
    """0: no limit."""
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class KeyLimits(_Message):
    """What one API key may use; None: no limit."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    tokens_per_minute: int | None = None
    """Prompt plus answer."""
    tokens_per_request: int | None = None
    """Longest answer."""


@dataclass(frozen=True, slots=True)
class AccessConfig(_Message):
    """Who may ask, and how much."""

    _nested: ClassVar[dict[str, type]] = {"limits": KeyLimits}

    keys_path: str | None = None
    """Folder of the mounted Secret with API keys; None: no key is asked for."""
    limits: KeyLimits = field(default_factory=KeyLimits)
    """Of every key that names none of its own."""
    limit_store_url_path: str | None = None
    """File with the URL of a Redis or Valkey that all replicas count in; None: each counts for itself."""
    limit_store_failure: str = "Open"
    """Open: each replica counts for itself while the store is down. Closed: requests get 503."""


@dataclass(frozen=True, slots=True)
class SafetyConfig(_Message):
    """What is refused for its content."""

    max_input_characters: int | None = None
    blocked_terms_path: str | None = None
    """Folder of the mounted ConfigMap with one term per line."""
    guard_url: str | None = None
    """Base URL (`http://NAME.NAMESPACE:8080`) of a GemmaDeployment that serves a ShieldGemma."""
    guard_model: str = ""
    guard_key_path: str | None = None
    """File with the API key that the guard asks for."""
    policies: list[str] = field(default_factory=list)
    """Names of ShieldGemma's policies; empty: all four."""
    stages: list[str] = field(default_factory=lambda: ["Input", "Output"])
    on_guard_failure: str = "Closed"
    """Closed: nothing passes unchecked. Open: it passes, and is counted."""


@dataclass(frozen=True, slots=True)
class MediaConfig(_Message):
    """Images and sound in requests."""

    max_items: int = 8
    """Of one request."""
    max_bytes: int = 20 * 2**20
    """Of one item, encoded."""
    max_pixels: int = 50_000_000
    """Of one image, decoded: 150 MB as RGB."""
    fetch: bool = False
    """Whether `https:` URLs are fetched; `data:` URLs always work."""


@dataclass(frozen=True, slots=True)
class QualityConfig(_Message):
    """Scores of a sample of the answers."""

    sample_percent: float = 1.0


@dataclass(frozen=True, slots=True)
class HealthConfig(_Message):
    """From where `/health` says `degraded`."""

    canary_seconds: float = 10.0
    """One token of an idle engine takes longer."""
    success_percent: float = 95.0
    """Fewer of the recent requests succeeded."""
    queue_percent: float = 80.0
    """The queue is fuller."""
    memory_percent: float = 90.0
    """The gateway uses more of its memory limit."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig(_Message):
    """Everything a serving pod needs to know, written by the operator as runtime.json."""

    _nested: ClassVar[dict[str, type]] = {
        "sampling": SamplingDefaults,
        "access": AccessConfig,
        "safety": SafetyConfig,
        "media": MediaConfig,
        "quality": QualityConfig,
        "health": HealthConfig,
    }

    model: str
    """Served model name: the GemmaDeployment's name."""
    variant: str
    """Catalogue key."""
    family: str
    """Chat family: gemma1, gemma2, gemma3, gemma3n, gemma4, shieldgemma, functiongemma."""
    engine: str
    """An EngineKind value."""
    engine_version: str
    precision: str
    weights_path: str
    """Folder of a Hugging Face checkpoint, or a GGUF file, inside the pod."""
    context_length: int
    """Tokens of prompt plus answer."""
    max_concurrent_requests: int
    max_queued_requests: int
    request_timeout_seconds: int
    drain_seconds: int
    """Longest a terminating pod lets running requests go on."""
    endpoint_removal_seconds: int = 10
    """How long a terminating pod still takes requests: until every proxy has dropped its endpoint."""
    tensor_parallel_size: int = 1
    threads: int | None = None
    """CPU threads of the engine; follows the CPU limit. CPU engines only."""
    instruction_tuned: bool = True
    """False for pre-trained checkpoints, which continue text rather than chat."""
    modalities: list[str] = field(default_factory=lambda: ["text"])
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    engine_arguments: dict[str, Any] = field(default_factory=dict)
    """Passed to the engine as they are; rendered by the planner for the exact engine version."""
    adapters: dict[str, str] = field(default_factory=dict)
    """LoRA adapters loaded at start: name to path inside the pod (a PEFT folder, or a GGUF for llama.cpp)."""
    access: AccessConfig | None = None
    """None: anybody may ask."""
    safety: SafetyConfig | None = None
    """None: nothing is refused for its content."""
    media: MediaConfig | None = None
    """None: MediaConfig's defaults."""
    quality: QualityConfig | None = None
    """None: no answer is sampled."""
    health: HealthConfig | None = None
    """None: HealthConfig's defaults."""
    endpoint_picker_aliases: bool | None = None
    """True: repeat three gauges under the names that Gateway API endpoint pickers look for (`vllm:…`)."""


@dataclass(frozen=True, slots=True)
class Structure(_Message):
    """Constrained decoding: exactly one of the fields."""

    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    """EBNF (GBNF for llama.cpp)."""
    regex: str | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest(_Message):
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


@dataclass(frozen=True, slots=True)
class Accepted(_Message):
    """The engine took the request."""

    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class TopLogprob(_Message):
    """One alternative at a position."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob(_Message):
    """Log probability of one generated token, with the best alternatives."""

    _nested: ClassVar[dict[str, type]] = {"top": TopLogprob}

    token: str
    logprob: float
    top: list[TopLogprob] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Delta(_Message):
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
class Finished(_Message):
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
class Failed(_Message):
    """The sequence could not be generated, or broke off."""

    code: str
    """A FailureCode value."""
    message: str
    param: str | None = None
    """Request field at fault."""


@dataclass(frozen=True, slots=True)
class GenerateEvent(_Message):
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
class EngineStats(_Message):
    """What the engine is doing now."""

    running: int
    waiting: int
    kv_used_tokens: int
    kv_total_tokens: int
    tokens_generated_total: int
    last_step_unix: float
    """When the engine last finished a step (seconds since the epoch); 0 before the first."""
