"""Objects that let something else move the replicas: KEDA, or the HPA of Kubernetes itself."""

from gemma_operator.resources.autoscaling.arrangement import Arrangement, Moment, arrangement_for
from gemma_operator.resources.autoscaling.backend import AutoscalingChoice, Backend, Offers
from gemma_operator.resources.autoscaling.bounds import Bounds
from gemma_operator.resources.autoscaling.signals import Source, Sources

__all__ = [
    "Arrangement",
    "AutoscalingChoice",
    "Backend",
    "Bounds",
    "Moment",
    "Offers",
    "Source",
    "Sources",
    "arrangement_for",
]
