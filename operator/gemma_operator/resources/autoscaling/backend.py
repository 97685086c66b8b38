"""What moves the replicas: chosen from what the spec asks for and what the cluster has. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from gemma_operator.api.v1alpha1 import ScalingBackend, ScalingSpec, Signal
from gemma_operator.resources.autoscaling.bounds import reaches_zero
from gemma_operator.settings import HpaMetrics, ScalingSettings


class Backend(StrEnum):
    """Who moves the replicas, and from where it has its metrics."""

    KEDA_PROMETHEUS = "KEDA on Prometheus"
    KEDA_FRONT_DOOR = "KEDA on the front door"
    PROMETHEUS_ADAPTER = "HPA on prometheus-adapter"
    GKE = "HPA on GKE's AutoscalingMetric"
    STACKDRIVER = "HPA on Cloud Monitoring"

    @property
    def is_keda(self) -> bool:
        """Whether a ScaledObject is rendered; otherwise an HPA is."""
        return self in (Backend.KEDA_PROMETHEUS, Backend.KEDA_FRONT_DOOR)


@dataclass(frozen=True, slots=True)
class Offers:
    """What the cluster serves."""

    keda: bool = False
    """ScaledObject (keda.sh)."""
    autoscaling_metrics: bool = False
    """AutoscalingMetric (autoscaling.gke.io)."""


@dataclass(frozen=True, slots=True)
class AutoscalingChoice:
    """The backend, or why there is none."""

    backend: Backend | None
    sentence: str
    """Which, and why; or what is missing, and what to do."""


_HPA = {
    HpaMetrics.PROMETHEUS_ADAPTER: Backend.PROMETHEUS_ADAPTER,
    HpaMetrics.GKE: Backend.GKE,
    HpaMetrics.STACKDRIVER: Backend.STACKDRIVER,
}


def choose_backend(scaling: ScalingSpec, offers: Offers, settings: ScalingSettings) -> AutoscalingChoice:
    """KEDA first: it alone reaches zero, and follows several signals with one formula."""
    if scaling.backend is not ScalingBackend.HPA and offers.keda:
        return _keda(scaling, settings)
    if scaling.backend is ScalingBackend.KEDA:
        return _missing("backend KEDA: this cluster serves no ScaledObject (keda.sh/v1alpha1). Install KEDA")
    if reaches_zero(scaling):
        return _missing(
            "minReplicas 0: only KEDA wakes what has no pods, and this cluster serves no ScaledObject"
            " (keda.sh/v1alpha1). Install KEDA, or set minReplicas to 1"
        )
    return _hpa(scaling, offers, settings)


def _keda(scaling: ScalingSpec, settings: ScalingSettings) -> AutoscalingChoice:
    if reaches_zero(scaling) and settings.front_door_url is None:
        return _missing(
            "minReplicas 0: needs the front door, which holds requests while there are no pods. Install it"
            " (frontDoor.enabled of the chart), or set minReplicas to 1"
        )
    if settings.prometheus_url is not None:
        return AutoscalingChoice(
            Backend.KEDA_PROMETHEUS, f"KEDA is installed, and reads Prometheus at {settings.prometheus_url}"
        )
    if settings.front_door_url is None:
        return _missing(
            "KEDA is installed, but has nothing to read: name a Prometheus (scaling.prometheusUrl of the"
            " operator's settings), or install the front door"
        )
    if (scaling.signal, *(more.signal for more in scaling.additional_signals)) != (Signal.WAITING_REQUESTS,):
        return _missing(
            "the front door alone counts requests: KVCacheUtilization and TimeToFirstToken need a Prometheus"
            " (scaling.prometheusUrl of the operator's settings)"
        )
    return AutoscalingChoice(
        Backend.KEDA_FRONT_DOOR, f"KEDA is installed, and reads the front door at {settings.front_door_url}"
    )


def _hpa(scaling: ScalingSpec, offers: Offers, settings: ScalingSettings) -> AutoscalingChoice:
    signals = (scaling.signal, *(more.signal for more in scaling.additional_signals))
    if Signal.TIME_TO_FIRST_TOKEN in signals:
        return _missing("TimeToFirstToken needs KEDA: an HPA reads no quantiles. Install KEDA")
    backend = _HPA[settings.hpa_metrics]
    if backend is Backend.GKE and not offers.autoscaling_metrics:
        return _missing(
            "scaling.hpaMetrics GKE: this cluster serves no AutoscalingMetric (autoscaling.gke.io/v1beta1)."
            " It takes GKE 1.35.1 or newer with the HPA performance profile"
        )
    why = "as backend HPA asks" if scaling.backend is ScalingBackend.HPA else "KEDA is not installed"
    return AutoscalingChoice(backend, f"{backend.value}: {why}")


def _missing(sentence: str) -> AutoscalingChoice:
    return AutoscalingChoice(None, sentence)
