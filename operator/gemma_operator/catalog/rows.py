"""What a row of the catalogue may contain. Every row names its source and how far to trust it."""

from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from gemma_operator.api.v1alpha1 import EngineName, Precision

Key = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]


class Confidence(StrEnum):
    """How far a row can be trusted."""

    MEASURED = "measured"
    """Was run or counted."""
    DOCUMENTED = "documented"
    """Vendor or project documentation, source code, public log."""
    SECONDARY = "secondary"
    """An article or a copy that quotes a primary source."""
    INFERRED = "inferred"
    """A conclusion from the above."""
    RECALLED = "recalled"
    """General knowledge; verify before relying on it."""


class Row(BaseModel):
    """Base of all rows: immutable, unknown fields refused, source and confidence required."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """Where the numbers come from."""
    confidence: Confidence


class PerKind(BaseModel):
    """A number for local (sliding-window) and for global (full) attention layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    local: Count
    global_: Count = Field(alias="global")


class FeedForward(BaseModel):
    """A run of layers with one feed-forward width."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: PositiveCount
    width: PositiveCount


class Experts(BaseModel):
    """Mixture of experts: all stay in memory, `active` of them compute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: PositiveCount
    active: PositiveCount
    width: PositiveCount


class Parameters(BaseModel):
    """Parameter counts by tensor group; `file` counts what the published checkpoint stores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: PositiveCount
    used: PositiveCount
    """Without tensors that no layer reads (k/v projections of layers that share a cache)."""
    embedding: PositiveCount
    """One table, tied: it is also the output head."""
    per_layer_embedding: Count = 0
    vision: Count = 0
    audio: Count = 0
    projector: Count = 0
    experts: Count = 0


class VisionTower(BaseModel):
    """Image encoder: what one patch costs, and how many patches become one token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_size: PositiveCount
    feed_forward: PositiveCount
    patches_per_token: PositiveCount


class Architecture(Row):
    """The layer table of one model body, shared by its forms and relatives."""

    body: str
    """Model class as engines know it; the support matrix is keyed by it."""
    layers: PositiveCount
    own_layers: PerKind
    """Layers that keep a KV cache of their own."""
    shared_layers: PerKind = PerKind(local=0, **{"global": 0})
    """Layers that read an earlier layer's cache."""
    sliding_window: PositiveCount | None = None
    hidden_size: PositiveCount
    feed_forward: tuple[FeedForward, ...]
    attention_heads: PositiveCount
    kv_heads: PerKind
    head_size: PerKind
    vocabulary: PositiveCount
    keys_are_values: bool = False
    """Global layers store no value projection (the cache still holds both)."""
    rope_rows: PerKind
    """Rows of the rotary tables that vLLM keeps: positions, times the scaling factor where scaled."""
    experts: Experts | None = None
    vision_tower: VisionTower | None = None
    parameters: Parameters

    @model_validator(mode="after")
    def _layers_add_up(self) -> "Architecture":
        own, shared = self.own_layers, self.shared_layers
        if own.local + own.global_ + shared.local + shared.global_ != self.layers:
            raise ValueError("own_layers and shared_layers do not add up to layers")
        if sum(run.layers for run in self.feed_forward) != self.layers:
            raise ValueError("feed_forward does not cover all layers")
        if own.local and self.sliding_window is None:
            raise ValueError("local layers need a sliding_window")
        return self

    @cached_property
    def attention_parameters(self) -> int:
        """Query, key, value and output projections of all layers, as the checkpoint stores them."""
        local = self.own_layers.local + self.shared_layers.local
        global_ = self.own_layers.global_ + self.shared_layers.global_
        value_factor = 1 if self.keys_are_values else 2
        per_local = (
            2 * self.attention_heads * self.head_size.local + 2 * self.kv_heads.local * self.head_size.local
        )
        per_global = (
            2 * self.attention_heads * self.head_size.global_
            + value_factor * self.kv_heads.global_ * self.head_size.global_
        )
        return self.hidden_size * (local * per_local + global_ * per_global)

    @cached_property
    def feed_forward_parameters(self) -> int:
        """Gate, up and down projections of all layers; experts not included."""
        return sum(3 * self.hidden_size * run.width * run.layers for run in self.feed_forward)

    @cached_property
    def remaining_parameters(self) -> int:
        """Norms, routers, per-layer projections: what no other group counts."""
        p = self.parameters
        counted = p.embedding + p.per_layer_embedding + p.vision + p.audio + p.projector + p.experts
        return max(0, p.file - counted - self.attention_parameters - self.feed_forward_parameters)

    @cached_property
    def widest_feed_forward(self) -> int:
        """Largest intermediate width that one token passes through."""
        dense = max(run.width for run in self.feed_forward)
        routed = self.experts.active * self.experts.width if self.experts else 0
        return max(dense, dense + routed if routed else 0)


class Sampling(BaseModel):
    """Defaults of the variant's generation config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Form(StrEnum):
    """Pre-trained or instruction-tuned."""

    PT = "pt"
    IT = "it"


class Task(StrEnum):
    """What people choose a variant for."""

    CHAT = "chat"
    VISION = "vision"
    AUDIO = "audio"
    CODE = "code"
    TOOLS = "tools"
    TRANSLATE = "translate"
    GUARD = "guard"


class Variant(Row):
    """One published model."""

    architecture: Key | None = None
    """None: a relative that is known and not served."""
    generation: str
    """Marketing family such as `Gemma 3`, for messages."""
    size: str
    """Size as people say it: `27b`."""
    family: str
    """Chat family of the serving contract."""
    form: Form
    repository: str
    revision: str | None = None
    """Pinned commit, where known."""
    licence: str
    gated: bool
    released: str
    context_length: PositiveCount
    modalities: tuple[str, ...]
    tasks: tuple[Task, ...] = ()
    quality: Annotated[int, Field(ge=0, le=100)] = 0
    """Rank among variants for a task: larger and newer first. An ordering, not a benchmark score."""
    function_calling: str = "none"
    image_tokens: int | None = None
    sampling: Sampling = Sampling()
    file_parameters: PositiveCount | None = None
    """Overrides the architecture's count, where a relative differs."""
    drafter: Key | None = None
    """Multi-token-prediction drafter."""
    refusal: str | None = None
    """Why no engine here serves it."""

    @model_validator(mode="after")
    def _served_or_refused(self) -> "Variant":
        if (self.architecture is None) != (self.refusal is not None):
            raise ValueError("either architecture (served) or refusal (known, not served) must be given")
        return self


class Format(StrEnum):
    """File format of a checkpoint."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"


class Checkpoint(Row):
    """One published set of weight files of a variant."""

    variant: Key
    precision: Precision
    format: Format
    scheme: Key
    """Which tensor group has which type: a key of schemes.yaml."""
    repository: str
    revision: str | None = None
    files: tuple[str, ...]
    """Glob patterns or file names to fetch."""
    entry: str = "."
    """What the engine opens: the folder, or one file."""
    file_bytes: PositiveCount | None = None
    """Bytes of the weight files where published; else computed from the scheme."""
    engines: tuple[EngineName, ...]
    """Engines that read this format."""
    quantized_at_load: bool = False
    """The engine quantises a 16-bit checkpoint while loading."""
    gated: bool | None = None
    """Overrides the variant's."""


class Scheme(Row):
    """Type of each tensor group in a checkpoint: keys of the `types` table."""

    attention: str
    feed_forward: str
    experts: str
    embedding: str
    per_layer_embedding: str
    towers: str
    """Vision and audio towers and projectors."""
    rest: str
    output_table: str | None = None
    """Type of a second copy of the embedding that the file carries for the output."""
    output_table_loaded: bool = False
    """The engine keeps that second copy rather than tying it."""
    kv_cache_bytes: PositiveCount = 2
    """Bytes per element of the cache that the checkpoint asks for: 1 where it carries FP8 scales."""
    gguf: bool = False
    """Types fall back by row length and mix by layer as llama.cpp's quantiser does."""


class WeightType(Row):
    """Storage cost of one tensor type, scales included."""

    bits: Annotated[float, Field(gt=0)]
    compute: str
    """Precision class the matrix units run it in: bf16, fp8, int8 or fp4."""
