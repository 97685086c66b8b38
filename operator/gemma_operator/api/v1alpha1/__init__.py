"""GemmaDeployment v1alpha1: the spec a team writes and the status the operator answers with.

Attribute docstrings are what `kubectl explain` prints; the CRD is generated from here by `api/crd.py`.
"""

from gemma_operator.api.v1alpha1.access import AccessSpec
from gemma_operator.api.v1alpha1.engine import CompileCacheSpec, DrafterSpec
from gemma_operator.api.v1alpha1.media import MediaSpec
from gemma_operator.api.v1alpha1.monitoring import (
    DegradedSpec,
    MonitoringSpec,
    Objectives,
    Scrape,
)
from gemma_operator.api.v1alpha1.placement import PodOptions, PodToleration
from gemma_operator.api.v1alpha1.rollout import RolloutSpec, Strategy, UpgradePolicy
from gemma_operator.api.v1alpha1.safety import SafetySpec
from gemma_operator.api.v1alpha1.scaling import (
    AdditionalSignal,
    ScalingBackend,
    ScalingSpec,
    Schedule,
    Signal,
)
from gemma_operator.api.v1alpha1.source import (
    GcsSource,
    HuggingFaceSource,
    ImageSource,
    ModelSource,
    PersistentVolumeClaimSource,
    S3Source,
    SecretKeyRef,
    SecretRef,
)
from gemma_operator.api.v1alpha1.spec import (
    AccessMode,
    AdapterSlots,
    AdapterSpec,
    CacheSpec,
    CapacitySpec,
    EngineName,
    EngineSpec,
    GemmaDeploymentSpec,
    HardwareSpec,
    ModelSpec,
    Optimization,
    Precision,
    Retention,
)
from gemma_operator.api.v1alpha1.status import (
    AdapterStateName,
    AdapterStatus,
    Condition,
    ConditionStatus,
    GemmaDeploymentStatus,
    PlanMemory,
    PlanStatus,
    RenderedStatus,
    SpeedStatus,
    StartupPhaseName,
    StartupStatus,
    WeightsStatus,
)

__all__ = [
    "AccessMode",
    "AccessSpec",
    "AdapterSlots",
    "AdapterSpec",
    "AdapterStateName",
    "AdapterStatus",
    "AdditionalSignal",
    "CacheSpec",
    "CapacitySpec",
    "CompileCacheSpec",
    "Condition",
    "ConditionStatus",
    "DegradedSpec",
    "DrafterSpec",
    "EngineName",
    "EngineSpec",
    "GcsSource",
    "GemmaDeploymentSpec",
    "GemmaDeploymentStatus",
    "HardwareSpec",
    "HuggingFaceSource",
    "ImageSource",
    "MediaSpec",
    "ModelSource",
    "ModelSpec",
    "MonitoringSpec",
    "Objectives",
    "Optimization",
    "PersistentVolumeClaimSource",
    "PlanMemory",
    "PlanStatus",
    "PodOptions",
    "PodToleration",
    "Precision",
    "RenderedStatus",
    "Retention",
    "RolloutSpec",
    "S3Source",
    "SafetySpec",
    "ScalingBackend",
    "ScalingSpec",
    "Schedule",
    "Scrape",
    "SecretKeyRef",
    "SecretRef",
    "Signal",
    "SpeedStatus",
    "StartupPhaseName",
    "StartupStatus",
    "Strategy",
    "UpgradePolicy",
    "WeightsStatus",
]
