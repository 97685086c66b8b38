"""GemmaDeployment v1alpha1: the spec a team writes and the status the operator answers with.

Attribute docstrings are what `kubectl explain` prints; the CRD is generated from this file by `api/crd.py`.
A field is here only when something reads it.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from gemma_operator.api.base import ApiModel, DnsName, Quantity, cel


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


class SecretKeyRef(ApiModel):
    """One key of a Secret in the resource's own namespace."""

    name: DnsName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(default="token")
    """Key within the Secret."""


class HuggingFaceSource(ApiModel):
    """Weights from a Hugging Face repository or a mirror that speaks its protocol."""

    repository: Annotated[str, StringConstraints(max_length=200, pattern=r"^[\w.-]+/[\w.-]+$")]
    """Repository as `owner/name`."""
    revision: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(default=None)
    """Branch, tag or commit. Default: the revision pinned in the catalogue, or `main`."""
    endpoint: Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://")] | None = Field(
        default=None
    )
    """URL of a mirror. Default: the operator's setting."""
    token_secret_ref: SecretKeyRef | None = Field(default=None)
    """Secret with the access token that gated repositories require."""


class PersistentVolumeClaimSource(ApiModel):
    """Weights that already lie in a claim of the same namespace; nothing is fetched."""

    claim_name: DnsName
    """Name of the claim. It is mounted read-only."""
    path: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^/].*$")] | None = Field(default=None)
    """Folder or file within the claim, relative. Default: its root."""


class ModelSource(ApiModel):
    """Where the weights come from: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.huggingFace) != has(self.persistentVolumeClaim)",
                "exactly one of huggingFace and persistentVolumeClaim must be set",
            )
        )
    )

    hugging_face: HuggingFaceSource | None = Field(default=None)
    """A Hugging Face repository."""
    persistent_volume_claim: PersistentVolumeClaimSource | None = Field(default=None)
    """An existing claim."""


class ModelSpec(ApiModel):
    """Which Gemma, in which form."""

    variant: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """Catalogue key such as `gemma-3-4b-it`. `gemma-operator plan --matrix` lists them."""
    precision: Precision = Field(default=Precision.AUTO)
    """Weight format. Default: what the engine and the accelerator serve best."""
    context_length: Annotated[int, Field(ge=64, le=1048576)] | None = Field(default=None)
    """Tokens of prompt plus answer. Default: 8192, or the variant's maximum when that is less."""
    source: ModelSource | None = Field(default=None)
    """Where the weights come from. Default: the catalogue's repository at its pinned revision."""


class EngineSpec(ApiModel):
    """Which engine serves the model."""

    name: EngineName = Field(default=EngineName.AUTO)
    """Engine. Default: the first that the support matrix verifies for this model and hardware."""


class HardwareSpec(ApiModel):
    """What a replica runs on."""

    accelerator: Annotated[str, StringConstraints(min_length=1, max_length=63)] = Field(default="Auto")
    """`Auto`, a catalogue key such as `nvidia-l4`, or `cpu`. `Auto`: the cheapest present that fits."""
    count: Annotated[int, Field(ge=1, le=16)] | None = Field(default=None)
    """Accelerators per replica. Default: the smallest number that fits."""
    cpu: Quantity | None = Field(default=None)
    """CPU of the engine container. Default: planned."""
    memory: Quantity | None = Field(default=None)
    """Host memory of the engine container. Default: planned."""


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
            (
                "!has(self.claimName) || (!has(self.storageClassName) && !has(self.size))",
                "claimName names an existing claim: storageClassName and size describe a new one",
            )
        )
    )

    claim_name: DnsName | None = Field(default=None)
    """An existing claim to keep weights in. Default: the operator makes one."""
    storage_class_name: DnsName | None = Field(default=None)
    """Storage class of the new claim. Default: the cluster's."""
    access_mode: AccessMode = Field(default=AccessMode.READ_WRITE_ONCE)
    """Access mode of the new claim."""
    size: Quantity | None = Field(default=None)
    """Size of the new claim. Default: planned from the weights."""


class GemmaDeploymentSpec(ApiModel):
    """The desired endpoint."""

    model: ModelSpec
    """Which Gemma, in which form."""
    engine: EngineSpec = Field(default=EngineSpec())
    """Which engine serves it."""
    hardware: HardwareSpec = Field(default=HardwareSpec())
    """What a replica runs on."""
    capacity: CapacitySpec = Field(default=CapacitySpec())
    """How much a replica takes on at once."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = Field(default=1)
    """Number of pods."""
    cache: CacheSpec | None = Field(default=None)
    """Keep fetched weights in a claim. Default: each pod fetches into its own ephemeral volume."""
    suspend: bool = Field(default=False)
    """Scale to zero and keep everything else."""


class ConditionStatus(StrEnum):
    """Status of a condition, as in Kubernetes."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of the endpoint, positive polarity, in the form of metav1.Condition."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """Planned, WeightsReady, PodsReady or Ready."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: int
    """The metadata.generation this was judged from."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed (RFC 3339, UTC)."""
    reason: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z]+$")]
    """One of the reasons in docs/api.md."""
    message: Annotated[str, StringConstraints(max_length=4096)]
    """What is needed, what there is, what to change."""


class PlanMemory(ApiModel):
    """Memory per accelerator (host memory on CPU), in GiB, as text with two decimals."""

    usable: str
    """What the engine may use."""
    weights: str
    """Model weights."""
    kv_cache: str
    """KV cache."""
    overhead: str
    """Runtime, activations and graphs."""
    headroom: str
    """Left over."""


class PlanStatus(ApiModel):
    """The plan in force."""

    engine: EngineName
    """Engine chosen."""
    engine_version: str
    """Its version."""
    image: str
    """Image of the engine container."""
    accelerator: str
    """`cpu`, or the accelerator's catalogue key."""
    count: int
    """Accelerators per replica; 0 on CPU."""
    tensor_parallel_size: int
    """Ways each layer is split."""
    precision: Precision
    """Weight format chosen."""
    context_length: int
    """Tokens of prompt plus answer."""
    max_concurrent_requests: int
    """Requests generated at once by one replica."""
    memory: PlanMemory
    """Where the memory goes."""


class WeightsStatus(ApiModel):
    """Progress of the weights."""

    source: str
    """Repository or claim."""
    revision: str | None = Field(default=None)
    """Commit, once resolved."""
    bytes_done: int | None = Field(default=None)
    """Bytes fetched and verified."""
    bytes_total: int | None = Field(default=None)
    """Bytes of all files."""


class GemmaDeploymentStatus(ApiModel):
    """What the operator says of the endpoint."""

    observed_generation: int | None = Field(default=None)
    """The metadata.generation this status was written for."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default=[])
    """Planned, WeightsReady, PodsReady and their roll-up Ready."""
    summary: str | None = Field(default=None)
    """The state in one sentence."""
    url: str | None = Field(default=None)
    """Base URL of the OpenAI endpoint inside the cluster."""
    accelerator: str | None = Field(default=None)
    """What a replica runs on, as `2x nvidia-l4` or `cpu`."""
    ready: str | None = Field(default=None)
    """Ready of desired replicas, as `2/2`."""
    replicas: int | None = Field(default=None)
    """Pods that exist."""
    ready_replicas: int | None = Field(default=None)
    """Pods that take requests."""
    selector: str | None = Field(default=None)
    """Label selector of the pods, for the scale subresource."""
    plan: PlanStatus | None = Field(default=None)
    """The plan in force."""
    weights: WeightsStatus | None = Field(default=None)
    """Progress of the weights."""
