"""runtime.json: what the operator tells a pod."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from gemma_serving.contract.codec import Message
from gemma_serving.contract.gateway import (
    AccessConfig,
    HealthConfig,
    MediaConfig,
    QualityConfig,
    SafetyConfig,
    TracingConfig,
)


class EngineKind(StrEnum):
    """Which implementation of the Engine protocol the Triton model loads."""

    LLAMA_CPP = "llamacpp"
    VLLM = "vllm"
    TENSORRT_LLM = "tensorrt_llm"


@dataclass(frozen=True, slots=True)
class SamplingDefaults(Message):
    """What a request gets that names no value of its own (the variant's generation config)."""

    temperature: float = 1.0
    top_k: int = 0
    """0: no limit."""
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class DrafterConfig(Message):
    """A model that guesses tokens ahead (multi-token prediction)."""

    path: str
    """Folder of its Hugging Face checkpoint, inside the pod."""
    tokens: int
    """Guessed per step."""


LIVE_FIELDS = frozenset({"max_queued_requests", "access", "safety"})
"""Fields of runtime.json that a running gateway takes up when the file changes. All others are read once, at
the start of a container: changing one takes new pods. `adapters` are taken up as well, as far as the engine
can: where `adapter_slots` says so."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig(Message):
    """Everything a serving pod needs to know, written by the operator as runtime.json."""

    _nested: ClassVar[dict[str, type]] = {
        "sampling": SamplingDefaults,
        "drafter": DrafterConfig,
        "access": AccessConfig,
        "safety": SafetyConfig,
        "media": MediaConfig,
        "quality": QualityConfig,
        "health": HealthConfig,
        "tracing": TracingConfig,
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
    """LoRA adapters: name to path inside the pod, of a PEFT folder.

    For llama.cpp of a GGUF file, or of a folder that holds one."""
    adapter_rank: int | None = None
    """Largest rank that memory is planned for; None: what the adapters themselves have."""
    adapter_slots: int | None = None
    """How many adapters may be loaded, at start or later. None: those of `adapters`, at start only."""
    drafter: DrafterConfig | None = None
    """None: every token is the model's own step."""
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
    tracing: TracingConfig | None = None
    """None: no span is recorded."""
    endpoint_picker_aliases: bool | None = None
    """True: repeat three gauges under the names that Gateway API endpoint pickers look for (`vllm:…`)."""
