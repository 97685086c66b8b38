"""The status the operator answers with."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from gemma_operator.api.base import ApiModel
from gemma_operator.api.v1alpha1.spec import EngineName, Precision

Word = Annotated[str, StringConstraints(max_length=100)]
"""A name or number that the operator writes into the status."""
Sentence = Annotated[str, StringConstraints(max_length=4096)]
"""What the operator writes for people."""
Reference = Annotated[str, StringConstraints(max_length=500)]
"""An image, a URL, a selector."""
Count = Annotated[int, Field(ge=0)]
"""Of anything."""


class ConditionStatus(StrEnum):
    """Status of a condition, as in Kubernetes."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of the endpoint, positive polarity, in the form of metav1.Condition."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """Planned, WeightsReady, PodsReady, Ready or UpToDate."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Count
    """The metadata.generation this was judged from."""
    last_transition_time: Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
    """When `status` last changed (RFC 3339, UTC)."""
    reason: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z]+$")]
    """One of the reasons in docs/api.md."""
    message: Annotated[str, StringConstraints(max_length=4096)]
    """What is needed, what there is, what to change."""


class PlanMemory(ApiModel):
    """Memory per accelerator (host memory on CPU), in GiB, as text with two decimals."""

    usable: Word
    """What the engine may use."""
    weights: Word
    """Model weights."""
    kv_cache: Word
    """KV cache."""
    overhead: Word
    """Runtime, activations and graphs."""
    headroom: Word
    """Left over."""


class SpeedStatus(ApiModel):
    """Generation speed of one replica in tokens per second, as text with one decimal."""

    low: Word
    """Lower end of the band."""
    expected: Word
    """Best estimate."""
    high: Word
    """Upper end of the band."""


class PlanStatus(ApiModel):
    """The plan in force."""

    engine: EngineName
    """Engine chosen."""
    engine_version: Word
    """Its version."""
    image: Reference
    """Image of the engine container."""
    accelerator: Word
    """`cpu`, or the accelerator's catalogue key."""
    count: Count
    """Accelerators per replica; 0 on CPU."""
    tensor_parallel_size: Count
    """Ways each layer is split."""
    precision: Precision
    """Weight format chosen."""
    context_length: Count
    """Tokens of prompt plus answer."""
    max_concurrent_requests: Count
    """Requests generated at once by one replica."""
    memory: PlanMemory
    """Where the memory goes."""
    tokens_per_second: SpeedStatus | None = Field(default=None)
    """Predicted for a replica that is busy with `maxConcurrentRequests`."""
    hourly_cost: Word | None = Field(default=None)
    """Of one replica, from the price file of the catalogue; absent where no price is known."""


class WeightsStatus(ApiModel):
    """Progress of the weights."""

    source: Reference
    """Repository or claim."""
    revision: Reference | None = Field(default=None)
    """Commit, once resolved."""
    bytes_done: Count | None = Field(default=None)
    """Bytes fetched and verified."""
    bytes_total: Count | None = Field(default=None)
    """Bytes of all files."""


class AdapterStateName(StrEnum):
    """How an adapter is, over the ready pods."""

    LOADED = "Loaded"
    LOADING = "Loading"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class AdapterStatus(ApiModel):
    """One LoRA adapter over the ready pods."""

    name: Word
    """As the spec names it."""
    state: AdapterStateName
    """`Loaded` on every ready pod; `Failed` or `Unknown` where one of them says so; `Loading` otherwise."""
    loaded: Word
    """Pods that have it, of those that are ready, as `2/3`."""
    message: Sentence | None = Field(default=None)
    """Which pod has not, and why."""


class StartupPhaseName(StrEnum):
    """What a new pod goes through, in this order."""

    SCHEDULED = "Scheduled"
    PULLED = "Pulled"
    WEIGHTS = "Weights"
    SERVING = "Serving"


class StartupStatus(ApiModel):
    """One phase of a pod's start."""

    phase: StartupPhaseName
    """`Scheduled`: until it had a node. `Pulled`: images and volumes. `Weights`: fetching its own copy.
    `Serving`: from the engine's start until the model was loaded and a first answer came."""
    predicted_seconds: Count | None = Field(default=None)
    """What the plan counts on; absent for what depends on the cluster alone."""
    seconds: Count | None = Field(default=None)
    """What it took, for the first pod of this template that served."""


class RenderedStatus(ApiModel):
    """Which rendering of the pods is in force."""

    operator_version: Word
    """Version of the operator that first rendered these pods."""
    template_hash: Word
    """Hash of the pod template in force."""
    pending: Word | None = Field(default=None)
    """Hash of the template that this operator would render, where that is another one."""


class GemmaDeploymentStatus(ApiModel):
    """What the operator says of the endpoint."""

    observed_generation: Count | None = Field(default=None)
    """The metadata.generation this status was written for."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default=[])
    """Planned, WeightsReady, PodsReady and their roll-up Ready; UpToDate beside them."""
    summary: Sentence | None = Field(default=None)
    """The state in one sentence."""
    url: Reference | None = Field(default=None)
    """Base URL of the OpenAI endpoint inside the cluster."""
    accelerator: Word | None = Field(default=None)
    """What a replica runs on, as `2x nvidia-l4` or `cpu`."""
    ready: Word | None = Field(default=None)
    """Ready of desired replicas, as `2/2`."""
    replicas: Count | None = Field(default=None)
    """Pods that exist."""
    ready_replicas: Count | None = Field(default=None)
    """Pods that take requests."""
    selector: Reference | None = Field(default=None)
    """Label selector of the pods, for the scale subresource."""
    plan: PlanStatus | None = Field(default=None)
    """The plan in force."""
    weights: WeightsStatus | None = Field(default=None)
    """Progress of the weights."""
    adapters: (
        Annotated[
            list[AdapterStatus],
            Field(
                max_length=16,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ]
        | None
    ) = Field(default=None)
    """Where the LoRA adapters are loaded."""
    startup: Annotated[
        list[StartupStatus],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["phase"]},
        ),
    ] = Field(default=[])
    """How long a pod takes to serve, predicted and observed."""
    rendered: RenderedStatus | None = Field(default=None)
    """Which rendering of the pods is in force."""
