"""The contract: the only thing that operator, gateway and Triton model share.

Standard library only: inside NVIDIA's unmodified images this module is imported by the Python backend, next
to whatever versions of third-party packages those images carry.
"""

from gemma_serving.contract.codec import ContractError
from gemma_serving.contract.events import (
    Accepted,
    AdapterState,
    Delta,
    EngineStats,
    Failed,
    FailureCode,
    Finished,
    FinishReason,
    GenerateEvent,
    TokenLogprob,
    TopLogprob,
)
from gemma_serving.contract.folders import BUCKET_REVISION, bucket_folder, repository_folder
from gemma_serving.contract.gateway import (
    AccessConfig,
    HealthConfig,
    KeyLimits,
    MediaConfig,
    QualityConfig,
    SafetyConfig,
    TracingConfig,
)
from gemma_serving.contract.names import (
    ADAPTERS_KEY,
    CANCEL_KEY,
    EVENT_TENSOR,
    MEDIA_TENSOR,
    MODEL_NAME,
    REQUEST_TENSOR,
    STATS_REQUEST,
)
from gemma_serving.contract.requests import GenerateRequest, Structure
from gemma_serving.contract.runtime import (
    LIVE_FIELDS,
    DrafterConfig,
    EngineKind,
    RuntimeConfig,
    SamplingDefaults,
)

__all__ = [
    "ADAPTERS_KEY",
    "BUCKET_REVISION",
    "CANCEL_KEY",
    "EVENT_TENSOR",
    "LIVE_FIELDS",
    "MEDIA_TENSOR",
    "MODEL_NAME",
    "REQUEST_TENSOR",
    "STATS_REQUEST",
    "Accepted",
    "AccessConfig",
    "AdapterState",
    "ContractError",
    "Delta",
    "DrafterConfig",
    "EngineKind",
    "EngineStats",
    "Failed",
    "FailureCode",
    "FinishReason",
    "Finished",
    "GenerateEvent",
    "GenerateRequest",
    "HealthConfig",
    "KeyLimits",
    "MediaConfig",
    "QualityConfig",
    "RuntimeConfig",
    "SafetyConfig",
    "SamplingDefaults",
    "Structure",
    "TokenLogprob",
    "TopLogprob",
    "TracingConfig",
    "bucket_folder",
    "repository_folder",
]
