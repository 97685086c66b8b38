"""What the gateway judges itself and its answers by."""

from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_serving.contract import HealthConfig, QualityConfig


def quality_config(spec: GemmaDeploymentSpec) -> QualityConfig | None:
    """The contract's part; None where no answer is sampled."""
    percent = spec.monitoring.quality_sample_percent
    return QualityConfig(percent) if percent else None


def health_config(spec: GemmaDeploymentSpec) -> HealthConfig | None:
    """The contract's part; None for its defaults."""
    degraded = spec.monitoring.degraded
    asked = HealthConfig(
        degraded.canary_seconds, degraded.success_percent, degraded.queue_percent, degraded.memory_percent
    )
    return None if asked == HealthConfig() else asked
