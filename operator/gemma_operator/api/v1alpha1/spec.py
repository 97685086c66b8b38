"""The spec a team writes. A field is here only when something reads it."""

from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, WithJsonSchema, model_validator

from gemma_operator.api.base import ApiModel, DnsName, Quantity, cel
from gemma_operator.api.v1alpha1.access import AccessSpec
from gemma_operator.api.v1alpha1.engine import CompileCacheSpec, DrafterSpec
from gemma_operator.api.v1alpha1.media import MediaSpec
from gemma_operator.api.v1alpha1.monitoring import MonitoringSpec
from gemma_operator.api.v1alpha1.placement import LabelValue, PodOptions, PodToleration
from gemma_operator.api.v1alpha1.rollout import RolloutSpec
from gemma_operator.api.v1alpha1.safety import SafetySpec
from gemma_operator.api.v1alpha1.scaling import ScalingSpec
from gemma_operator.api.v1alpha1.source import ModelSource

_Model = TypeVar("_Model", bound=ApiModel)

_CPU_COUNT = "count is the number of accelerators: leave it out with accelerator cpu"
_TWO_CHOICES = "accelerator names one and candidates several: leave one of the two out"
_CLASS_CHOOSES = "computeClass chooses the nodes: leave nodeSelector and spot out"
_CLAIM_EXISTS = "claimName names an existing claim: storageClassName and size describe a new one"
_ADAPTERS_DIFFER = "adapters are told apart by name: no two may share one"
_SCALED = "scaling decides on the number of replicas: leave replicas out"
_WHOSE_IMAGE = "image holds one engine: set engine.name to it"
_WHOSE_ARGUMENTS = "arguments are those of one engine: set engine.name to it"
_ONE_DRAFTER = "drafter and arguments.speculative_config both draft: leave one of the two out"
_NEEDLESS_CACHE = "weights that already lie in a claim or an image need no cache: leave cache out"


def _check(model: _Model, is_met: bool, message: str) -> _Model:
    """The operator's own check of a CEL rule: admission may have been off, or the CRD older."""
    if not is_met:
        raise ValueError(message)
    return model


class Precision(StrEnum):
    """Weight format. `Auto` lets the planner take what the engine and the accelerator serve best."""

    AUTO = "Auto"
    BF16 = "BF16"
    FP16 = "FP16"
    FP8 = "FP8"
    INT8 = "INT8"
    INT4 = "INT4"
    NVFP4 = "NVFP4"
    Q8_0 = "Q8_0"
    Q4_K_M = "Q4_K_M"
    Q4_0 = "Q4_0"


class Optimization(StrEnum):
    """What `precision: Auto` aims at."""

    MAXIMUM_EFFICIENCY = "MaximumEfficiency"
    BALANCED = "Balanced"
    PERFORMANCE = "Performance"


class EngineName(StrEnum):
    """Inference engine inside Triton. `Auto` takes the first that the support matrix verifies."""

    AUTO = "Auto"
    TENSORRT_LLM = "TensorRTLLM"
    VLLM = "VLLM"
    LLAMA_CPP = "LlamaCpp"


class AccessMode(StrEnum):
    """Access mode of a weights cache claim."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Retention(StrEnum):
    """What becomes of a weights cache claim when nobody uses it any more."""

    DELETE = "Delete"
    RETAIN = "Retain"


class AdapterSpec(ApiModel):
    """A LoRA adapter: a folder as PEFT and TRL write it, served beside the model as `NAME:adapter`."""

    name: Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Requests name the model `NAME:name` to use it."""
    source: ModelSource
    """Where `adapter_config.json` and `adapter_model.safetensors` come from."""
    rank: Annotated[int, Field(ge=1, le=512)] = Field(default=16)
    """Rank (`r` in adapter_config.json) that memory is planned for; an adapter of a larger one is refused."""


class AdapterSlots(ApiModel):
    """Room for LoRA adapters that come to running pods."""

    count: Annotated[int, Field(ge=1, le=16)] = Field(default=4)
    """Adapters that a pod can hold at once, those of `adapters` included."""
    rank: Annotated[int, Field(ge=1, le=512)] = Field(default=16)
    """Largest rank that has room."""


class ModelSpec(ApiModel):
    """Which Gemma, in which form."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.adapters) || self.adapters.all(a, self.adapters.exists_one(b, b.name == a.name))",
                _ADAPTERS_DIFFER,
            )
        )
    )

    variant: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """Catalogue key such as `gemma-3-4b-it`. `gemma-operator plan --matrix` lists them."""
    precision: Precision = Field(default=Precision.AUTO)
    """Weight format. Default: what the engine and the accelerator serve best."""
    optimization: Optimization = Field(default=Optimization.BALANCED)
    """What `precision: Auto` aims at: the fewest bytes, the middle, or the native precision."""
    context_length: Annotated[int, Field(ge=64, le=1048576)] | None = Field(default=None)
    """Tokens of prompt plus answer. Default: 8192, or the variant's maximum when that is less."""
    source: ModelSource | None = Field(default=None)
    """Where the weights come from. Default: the catalogue's repository at its pinned revision."""
    adapters: Annotated[list[AdapterSpec], Field(max_length=16)] = Field(default=[])
    """LoRA adapters. Requests name one as the model `NAME:adapter`."""
    adapter_slots: AdapterSlots | None = Field(default=None)
    """Memory kept for adapters, so that vLLM takes up those that come later without new pods. Default:
    `adapters` are loaded at start, and another one takes new pods."""

    @model_validator(mode="after")
    def _names_adapters_once(self) -> Self:
        names = [adapter.name for adapter in self.adapters]
        return _check(self, len(set(names)) == len(names), _ADAPTERS_DIFFER)


EngineArguments = Annotated[
    dict[str, JsonValue],
    Field(max_length=32),
    WithJsonSchema(
        {"type": "object", "maxProperties": 32, "x-kubernetes-preserve-unknown-fields": True},
    ),
]
"""Name to a value of any JSON type."""


class EngineSpec(ApiModel):
    """Which engine serves the model."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!has(self.image) || (has(self.name) && self.name != 'Auto')", _WHOSE_IMAGE),
            ("!has(self.arguments) || (has(self.name) && self.name != 'Auto')", _WHOSE_ARGUMENTS),
        )
    )

    name: EngineName = Field(default=EngineName.AUTO)
    """Engine. Default: the first that the support matrix verifies for this model and hardware."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^\S+$")] | None = Field(
        default=None
    )
    """Triton image to use instead of the planned one. Its tag says which engine version the plan assumes."""
    arguments: EngineArguments = Field(default={})
    """Passed to the engine as they are, by its own names. What the plan decides cannot be set here."""
    drafter: DrafterSpec | None = Field(default=None)
    """Guess tokens ahead with a small model. Default: none."""
    compile_cache: CompileCacheSpec | None = Field(default=None)
    """Keep what vLLM and TensorRT-LLM compile, so that later pods start faster. Default: per pod."""

    @model_validator(mode="after")
    def _drafts_once(self) -> Self:
        return _check(self, self.drafter is None or "speculative_config" not in self.arguments, _ONE_DRAFTER)

    @model_validator(mode="after")
    def _names_the_engine(self) -> Self:
        _check(self, self.image is None or self.name is not EngineName.AUTO, _WHOSE_IMAGE)
        return _check(self, not self.arguments or self.name is not EngineName.AUTO, _WHOSE_ARGUMENTS)


class HardwareSpec(ApiModel):
    """What a replica runs on."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!(has(self.accelerator) && self.accelerator == 'cpu' && has(self.count))", _CPU_COUNT),
            (
                "!has(self.candidates) || !has(self.accelerator) || self.accelerator == 'Auto'"
                " || size(self.candidates) == 0",
                _TWO_CHOICES,
            ),
            (
                "!has(self.computeClass) || ((!has(self.nodeSelector) || size(self.nodeSelector) == 0)"
                " && (!has(self.spot) || !self.spot))",
                _CLASS_CHOOSES,
            ),
        )
    )

    accelerator: Annotated[str, StringConstraints(min_length=1, max_length=63)] = Field(default="Auto")
    """`Auto`, a catalogue key such as `nvidia-l4`, or `cpu`. `Auto`: the cheapest present that fits."""
    candidates: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=63)]], Field(max_length=8)
    ] = Field(default=[])
    """Accelerators to try in this order; each is planned on its own and the first that fits is taken."""
    count: Annotated[int, Field(ge=1, le=16)] | None = Field(default=None)
    """Accelerators per replica. Default: the smallest number that fits."""
    cpu: Quantity | None = Field(default=None)
    """CPU of the engine container. Default: planned."""
    memory: Quantity | None = Field(default=None)
    """Host memory of the engine container. Default: planned."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(default={})
    """Labels that nodes must have, beside those of the plan."""
    tolerations: Annotated[list[PodToleration], Field(max_length=16)] = Field(default=[])
    """Taints that pods put up with, beside those of the plan."""
    compute_class: LabelValue | None = Field(default=None)
    """GKE ComputeClass, which chooses nodes by its own priorities."""
    spot: bool = Field(default=False)
    """Run on GKE spot nodes. They may go at any time: use two replicas or more."""

    @model_validator(mode="after")
    def _counts_accelerators(self) -> Self:
        return _check(self, self.accelerator != "cpu" or self.count is None, _CPU_COUNT)

    @model_validator(mode="after")
    def _lets_the_class_choose(self) -> Self:
        chooses = self.compute_class is not None
        return _check(self, not chooses or not (self.node_selector or self.spot), _CLASS_CHOOSES)

    @model_validator(mode="after")
    def _names_its_accelerators_once(self) -> Self:
        return _check(self, self.accelerator == "Auto" or not self.candidates, _TWO_CHOICES)


class CapacitySpec(ApiModel):
    """How much one replica takes on at once."""

    max_concurrent_requests: Annotated[int, Field(ge=1, le=4096)] | None = Field(default=None)
    """Requests generated at once. Default: what the KV cache holds at `contextLength`."""
    max_queued_requests: Annotated[int, Field(ge=0, le=100000)] | None = Field(default=None)
    """Requests waiting for a slot. Default: 4 x concurrency. Beyond it callers get 429."""
    request_timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(default=600)
    """Longest a request may take, waiting included. Also bounds how long draining a pod takes."""


class CacheSpec(ApiModel):
    """A claim that keeps fetched weights across pods."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!has(self.claimName) || (!has(self.storageClassName) && !has(self.size))", _CLAIM_EXISTS)
        )
    )

    claim_name: DnsName | None = Field(default=None)
    """An existing claim to keep weights in. Default: the operator makes one."""
    storage_class_name: DnsName | None = Field(default=None)
    """Storage class of the new claim. Default: the cluster's."""
    access_mode: AccessMode = Field(default=AccessMode.READ_WRITE_ONCE)
    """Access mode of the new claim. `ReadWriteMany`: one claim serves all with equal source and cache."""
    size: Quantity | None = Field(default=None)
    """Size of the new claim. Default: planned from the weights."""
    retention: Retention = Field(default=Retention.DELETE)
    """`Delete`: the new claim goes with its last user. `Retain`: it stays, also when the endpoint goes."""

    @model_validator(mode="after")
    def _describes_one_claim(self) -> Self:
        is_new = self.storage_class_name is not None or self.size is not None
        return _check(self, self.claim_name is None or not is_new, _CLAIM_EXISTS)


class GemmaDeploymentSpec(ApiModel):
    """The desired endpoint."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.cache) || !has(self.model.source)"
                " || (!has(self.model.source.persistentVolumeClaim) && !has(self.model.source.image))",
                _NEEDLESS_CACHE,
            ),
            # replicas has a stored default of 1, so it is always there.
            ("!has(self.scaling) || !has(self.replicas) || self.replicas == 1", _SCALED),
        )
    )

    model: ModelSpec
    """Which Gemma, in which form."""
    engine: EngineSpec = Field(default=EngineSpec())
    """Which engine serves it."""
    hardware: HardwareSpec = Field(default=HardwareSpec())
    """What a replica runs on."""
    capacity: CapacitySpec = Field(default=CapacitySpec())
    """How much a replica takes on at once."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = Field(default=1)
    """Number of pods. In force at once when `scaling` is removed: name the number in the same edit."""
    scaling: ScalingSpec | None = Field(default=None)
    """Let replicas follow the load. Default: there are always `replicas`."""
    access: AccessSpec | None = Field(default=None)
    """Who may ask, and how much. Default: anybody, without limits."""
    safety: SafetySpec | None = Field(default=None)
    """What is refused for its content. Default: nothing."""
    media: MediaSpec = Field(default=MediaSpec())
    """Images and sound in requests."""
    cache: CacheSpec | None = Field(default=None)
    """Keep fetched weights in a claim. Default: each pod fetches into its own ephemeral volume."""
    pod: PodOptions = Field(default=PodOptions())
    """What every pod gets beside what is planned."""
    rollout: RolloutSpec = Field(default=RolloutSpec())
    """How pods are replaced."""
    monitoring: MonitoringSpec = Field(default=MonitoringSpec())
    """How the endpoint is watched, and what it promises."""
    suspend: bool = Field(default=False)
    """Scale to zero and keep everything else."""

    @model_validator(mode="after")
    def _caches_what_is_fetched(self) -> Self:
        source = self.model.source
        is_there = source is not None and (source.persistent_volume_claim or source.image) is not None
        return _check(self, self.cache is None or not is_there, _NEEDLESS_CACHE)

    @model_validator(mode="after")
    def _counts_replicas_once(self) -> Self:
        return _check(self, self.scaling is None or self.replicas == 1, _SCALED)
