"""Settings of the operator: read once from one mounted YAML file, then passed down as one frozen value."""

from enum import StrEnum
from typing import Annotated

import yaml
from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from gemma_operator.api.base import ApiModel, DnsName, Quantity

DEFAULT_REGISTRY = "localhost/gemma-operator"

Image = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^\S+$")]
"""Image reference, with tag or digest."""

CollectorUrl = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s/:]+:[0-9]{1,5}$")]
"""Scheme, host and port; without TLS only as `http`."""

HostName = Annotated[
    str, StringConstraints(max_length=253, pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""As an HTTPRoute has it: a name, or `*.` and a domain."""


class SettingsError(ValueError):
    """The settings cannot be used; the text names file, field and reason."""


class Settings(ApiModel):
    """Base of every group of settings. An unknown field is an error: a misspelt one would be ignored."""

    model_config = ConfigDict(extra="forbid")


class PlanningSettings(Settings):
    """What planning needs to know beside the spec, the catalogue and the cluster."""

    triton_cpu_image: str = Field(default=f"{DEFAULT_REGISTRY}/triton-cpu:latest")
    """Image of the CPU engine."""
    gpu_image_repository: str = Field(default="nvcr.io/nvidia/tritonserver")
    """Repository of NVIDIA's Triton images; the catalogue names the tag."""
    gpu_image_tags: dict[str, str] = Field(default={})
    """Image tag per engine (`VLLM`, `TensorRTLLM`). Default: the catalogue's."""
    accelerator_order: tuple[str, ...] = Field(default=())
    """Preference among accelerators of equal or unknown price. Default: the catalogue's order."""
    require_token: bool = Field(default=True)
    """Refuse a gated repository without a token. The offline planner only mentions it."""


class ImageSettings(Settings):
    """Images of the pods that the operator makes."""

    operator: Image = Field(default=f"{DEFAULT_REGISTRY}/operator:latest")
    """The operator itself."""
    gateway: Image = Field(default=f"{DEFAULT_REGISTRY}/gateway:latest")
    """Gateway, repository writer and weights fetcher."""
    triton_cpu: Image = Field(default=f"{DEFAULT_REGISTRY}/triton-cpu:latest")
    """Triton with the llama.cpp engine."""
    gpu_repository: Image = Field(default="nvcr.io/nvidia/tritonserver")
    """Repository of NVIDIA's Triton images; the catalogue names the tag."""
    gpu_tags: dict[str, str] = Field(default={})
    """Image tag per engine (`VLLM`, `TensorRTLLM`). Default: the catalogue's."""


class ContainerSettings(Settings):
    """Resources of one of our own containers. Memory is request and limit alike: it is not compressible."""

    cpu: Quantity = Field(default="100m")
    """CPU request. There is no limit, so that a burst is not throttled."""
    memory: Quantity = Field(default="512Mi")
    """Memory request and limit."""


class Toleration(Settings):
    """A toleration, as in a pod."""

    key: str | None = Field(default=None)
    operator: str | None = Field(default=None)
    value: str | None = Field(default=None)
    effect: str | None = Field(default=None)


class PodSettings(Settings):
    """What every pod gets beside what its plan asks for."""

    node_selector: dict[str, str] = Field(default={})
    """Node labels required of every pod."""
    tolerations: tuple[Toleration, ...] = Field(default=())
    """Tolerations of every pod."""
    gateway: ContainerSettings = Field(default=ContainerSettings())
    """Resources of the gateway container and of the `repository` init container."""
    weights: ContainerSettings = Field(default=ContainerSettings(cpu="250m"))
    """Resources of whatever fetches weights; hashing takes a core while there is one."""


class NetworkPolicySettings(Settings):
    """Isolation of serving pods: only their two ports in, only DNS (and the hub while fetching) out."""

    enabled: bool = Field(default=True)
    """Render NetworkPolicies."""
    dns_namespace: DnsName = Field(default="kube-system")
    """Namespace of the cluster's DNS."""


class BundleSettings(Settings):
    """Certificates of the authorities that vouch for the hub and the proxy."""

    config_map: DnsName = Field()
    """ConfigMap with them, in the namespace of each GemmaDeployment."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = (
        Field(default="ca.crt")
    )
    """Key within it: a bundle in PEM."""


class EgressSettings(Settings):
    """How whatever fetches weights gets out of the cluster."""

    proxy: Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s/@]+$")] | None = Field(
        default=None
    )
    """Proxy, as `http://proxy.example:3128`. Without a name and a password: they would stand in every pod."""
    no_proxy: Annotated[str, StringConstraints(max_length=2000)] = Field(default="")
    """Hosts that are reached without it, separated by commas."""
    ca_bundle: BundleSettings | None = Field(default=None)
    """Authorities to trust in place of the public ones."""


class TracingSettings(Settings):
    """Spans of requests, from the gateways of all endpoints to one collector."""

    endpoint: CollectorUrl | None = Field(default=None)
    """Takes OTLP over gRPC, such as `http://otel-collector.monitoring:4317`. Default: no spans."""
    sample_percent: Annotated[float, Field(ge=0, le=100)] = Field(default=10)
    """Of requests that bring no trace context. A caller's decision to sample or not is followed."""


class RolloutSettings(Settings):
    """How the fleet's pods are replaced."""

    max_automatic_rollouts: Annotated[int, Field(ge=1, le=1000)] = Field(default=1)
    """Endpoints with `upgradePolicy: Automatic` that a newer operator rolls at once."""
    growable_pool_labels: tuple[str, ...] = Field(
        default=(
            "karpenter.sh/nodepool",
            "cloud.google.com/compute-class",
            "cloud.google.com/gke-nodepool",
            "eks.amazonaws.com/nodegroup",
            "kubernetes.azure.com/agentpool",
        )
    )
    """Labels of nodes whose pool an autoscaler may enlarge. Where it does not, a rollout goes on in place."""


class HpaMetrics(StrEnum):
    """What serves custom metrics to an HPA."""

    PROMETHEUS_ADAPTER = "PrometheusAdapter"
    GKE = "GKE"
    STACKDRIVER = "Stackdriver"


HttpUrl = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s/]+(/\S*[^\s/])?$")]
"""Without a slash at its end."""


class ScalingSettings(Settings):
    """Where autoscalers get their metrics, and how fast they may move."""

    prometheus_url: HttpUrl | None = Field(default=None)
    """Prometheus that scrapes the pods, as KEDA and the operator reach it: `http://prometheus.monitoring:9090`."""
    front_door_url: HttpUrl | None = Field(default=None)
    """Admin address of the front door. Default: there is none, and nothing scales to zero."""
    hpa_metrics: HpaMetrics = Field(default=HpaMetrics.PROMETHEUS_ADAPTER)
    """Where an HPA gets its metrics, where KEDA is not installed or not wanted."""
    up_window_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(default=30)
    """More replicas come once the load has been higher for so long."""
    down_window_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(default=300)
    """Replicas go once the load has been lower for so long; longer than a cold start takes."""
    down_period_seconds: Annotated[int, Field(ge=1, le=1800)] = Field(default=120)
    """Time between two that go."""


class ParentReference(Settings):
    """A Gateway, in HTTPRoute's own words."""

    name: DnsName = Field()
    namespace: DnsName | None = Field(default=None)
    """Default: the endpoint's own, where the Gateway then has to be."""
    section_name: DnsName | None = Field(default=None)
    """One of its listeners."""


class FailureMode(StrEnum):
    """What a gateway does while the endpoint picker does not answer."""

    OPEN = "FailOpen"
    """It chooses a pod by itself."""
    CLOSE = "FailClose"
    """It refuses requests."""


class EndpointPickerSettings(Settings):
    """The Service of each endpoint's picker, which somebody else installs beside it."""

    service_suffix: DnsName = Field(default="epp")
    """`NAME-SUFFIX` picks pods of the endpoint NAME: the name that the picker's own chart gives it."""
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=9002)
    """Where it speaks ext-proc."""
    failure_mode: FailureMode = Field(default=FailureMode.OPEN)
    """What happens while it is away."""


class GatewayApiSettings(Settings):
    """Routes of each endpoint by the Gateway API, where it is served."""

    parent_refs: Annotated[tuple[ParentReference, ...], Field(max_length=8)] = Field(default=())
    """Gateways that each endpoint's HTTPRoute attaches to. Default: none, and no HTTPRoute is made."""
    hostnames: Annotated[tuple[HostName, ...], Field(max_length=16)] = Field(default=())
    """Host names of the routes. Default: whatever the listener takes."""
    endpoint_picker: EndpointPickerSettings | None = Field(default=None)
    """Default: none. With one, each endpoint is an InferencePool, and its HTTPRoute leads there."""


class OperatorSettings(Settings):
    """Everything the operator is told at start."""

    images: ImageSettings = Field(default=ImageSettings())
    """Images of the pods that the operator makes."""
    image_pull_policy: Annotated[str, StringConstraints(pattern=r"^(Always|IfNotPresent|Never)$")] = Field(
        default="IfNotPresent"
    )
    """Pull policy of every container."""
    image_pull_secrets: tuple[DnsName, ...] = Field(default=())
    """Names of pull Secrets, looked up in the namespace of each GemmaDeployment."""
    hugging_face_endpoint: Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s/]+")] = (
        Field(default="https://huggingface.co")
    )
    """Hub, or a mirror that speaks its protocol, for sources that name no endpoint."""
    watch_namespaces: tuple[DnsName, ...] = Field(default=())
    """Namespaces to watch. Default: all."""
    resync_seconds: Annotated[int, Field(ge=10, le=86400)] = Field(default=1800)
    """Every resource is reconciled at least this often, in case an event was lost. Measured, a look
    costs 2.5 ms of a core: every 600 s, for a thousand resources, 0.4 % of it."""
    max_concurrent_reconciles: Annotated[int, Field(ge=1, le=100)] = Field(default=8)
    """Resources reconciled at once."""
    egress: EgressSettings = Field(default=EgressSettings())
    """How whatever fetches weights gets out of the cluster."""
    pods: PodSettings = Field(default=PodSettings())
    """What every pod gets beside what its plan asks for."""
    rollout: RolloutSettings = Field(default=RolloutSettings())
    """How the fleet's pods are replaced."""
    network_policy: NetworkPolicySettings = Field(default=NetworkPolicySettings())
    """Isolation of serving pods."""
    tracing: TracingSettings = Field(default=TracingSettings())
    """Spans of requests."""
    scaling: ScalingSettings = Field(default=ScalingSettings())
    """Metrics and pace of autoscalers."""
    gateway_api: GatewayApiSettings = Field(default=GatewayApiSettings())
    """How endpoints are reached from outside by the Gateway API."""
    accelerator_order: tuple[str, ...] = Field(default=())
    """Preference among accelerators of equal or unknown price. Default: the catalogue's order."""

    def planning(self) -> PlanningSettings:
        """The part that planning needs."""
        return PlanningSettings(
            triton_cpu_image=self.images.triton_cpu,
            gpu_image_repository=self.images.gpu_repository,
            gpu_image_tags=self.images.gpu_tags,
            accelerator_order=self.accelerator_order,
        )


def parse_settings(text: str, source: str = "settings") -> OperatorSettings:
    """Read settings from YAML; an empty text is all defaults. Raises SettingsError: source, field, reason."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{source}: not YAML: {error}") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SettingsError(f"{source}: expected a mapping at the top, got {type(data).__name__}")
    try:
        return OperatorSettings.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(_problem(details) for details in error.errors(include_url=False))
        raise SettingsError(f"{source}: {problems}") from error


def _problem(details: object) -> str:
    assert isinstance(details, dict)
    field = ".".join(str(part) for part in details["loc"]) or "(top)"
    if details["type"] == "extra_forbidden":
        return f"{field}: there is no such setting"
    return f"{field}: {details['msg']}"
