"""Where serving pods send the spans of their requests, and that they may."""

from gemma_operator.api.manifest import Manifest
from gemma_operator.resources.egress import port_of
from gemma_operator.settings import OperatorSettings
from gemma_serving.contract import TracingConfig


def tracing_config(settings: OperatorSettings) -> TracingConfig | None:
    """The contract's part; None where no collector is set."""
    tracing = settings.tracing
    return None if tracing.endpoint is None else TracingConfig(tracing.endpoint, tracing.sample_percent)


def tracing_egress(settings: OperatorSettings) -> list[Manifest]:
    """Network policy rules towards the collector; by port only: it may be anywhere."""
    endpoint = settings.tracing.endpoint
    return [] if endpoint is None else [{"ports": [{"port": port_of(endpoint), "protocol": "TCP"}]}]
