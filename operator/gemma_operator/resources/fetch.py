"""The containers that fetch weights: init containers of each pod, or the containers of the weights Job."""

from gemma_operator.api.manifest import Manifest
from gemma_operator.planning.origin import BucketOrigin, FetchedOrigin, HubOrigin
from gemma_operator.planning.plan import Plan, WeightsPlan
from gemma_operator.resources.containers import container_basics, mount, own_resources, variable
from gemma_operator.resources.egress import bundle_mounts, egress_variables, port_of
from gemma_operator.resources.layout import DEFAULT_REVISION, TEMPORARY_FOLDER, fetch_target
from gemma_operator.settings import OperatorSettings

WEIGHTS_CONTAINER = "weights"
DRAFTER_CONTAINER = f"{WEIGHTS_CONTAINER}--drafter"
"""No adapter's name begins with a hyphen."""
WEIGHTS_VOLUME = "weights"
ADAPTERS_VOLUME = "adapters"
GATEWAY_TEMPORARY_VOLUME = "gateway-tmp"
CLOUD_PORT = 443
"""Of the stores of both clouds, and of the service that gives pods their AWS credentials."""
_CREDENTIALS = (
    ("AWS_ACCESS_KEY_ID", "accessKeyId", False),
    ("AWS_SECRET_ACCESS_KEY", "secretAccessKey", False),
    ("AWS_SESSION_TOKEN", "sessionToken", True),
)
"""Variable that the client reads, key within the Secret, and whether it may be missing."""


def fetch_ports(plan: Plan, settings: OperatorSettings) -> list[int]:
    """Ports of the hubs, mirrors and stores that the plan's files come from."""
    origins = [weights.origin for weights in plan.fetched]
    return sorted({_port(origin, settings) for origin in origins if isinstance(origin, FetchedOrigin)})


def fetch_volume(plan: Plan) -> str:
    """Name of the volume that fetched files go to."""
    return WEIGHTS_VOLUME if plan.weights.is_fetched else ADAPTERS_VOLUME


def fetch_containers(plan: Plan, settings: OperatorSettings) -> list[Manifest]:
    """One per source, the model's last: an adapter with a wrong token fails before 50 GB have come."""
    named = [(f"{WEIGHTS_CONTAINER}-{adapter.name}", adapter.weights) for adapter in plan.adapters]
    if plan.drafter is not None:
        named.append((DRAFTER_CONTAINER, plan.drafter.weights))
    return [
        _container(name, weights, plan, settings)
        for name, weights in (*named, (WEIGHTS_CONTAINER, plan.weights))
        if weights.is_fetched
    ]


def _container(name: str, weights: WeightsPlan, plan: Plan, settings: OperatorSettings) -> Manifest:
    """Fetches, verifies and resumes; its last word is JSON in the termination message."""
    origin = weights.origin
    assert isinstance(origin, FetchedOrigin), "what is mounted is not fetched"
    container = container_basics(name, settings.images.gateway, settings)
    container |= {
        "command": ["python3", "-m", "gemma_serving.weights"],
        "args": [
            *_arguments(origin, settings),
            f"--target={fetch_target(plan)}",
            *(f"--file={pattern}" for pattern in weights.files),
        ],
        "env": [variable("HOME", TEMPORARY_FOLDER), *egress_variables(settings), *_secrets(origin)],
        "resources": own_resources(settings.pods.weights),
        "volumeMounts": [
            mount(fetch_volume(plan), fetch_target(plan)),
            mount(GATEWAY_TEMPORARY_VOLUME, TEMPORARY_FOLDER),
            *bundle_mounts(settings),
        ],
    }
    return container


def _arguments(origin: FetchedOrigin, settings: OperatorSettings) -> list[str]:
    if isinstance(origin, HubOrigin):
        return [
            f"--repository={origin.repository}",
            f"--revision={origin.revision or DEFAULT_REVISION}",
            f"--endpoint={_hub(origin, settings)}",
            *(["--server-folder"] if origin.server else ()),
        ]
    return [f"--uri={origin.uri}", *([f"--endpoint={origin.endpoint}"] if origin.endpoint else ())]


def _secrets(origin: FetchedOrigin) -> list[Manifest]:
    """Each container is given what its own source asks for."""
    if isinstance(origin, BucketOrigin):
        secret = origin.credentials_secret_name
        return [_secret(*each, secret) for each in _CREDENTIALS] if secret else []
    token = origin.token_secret_name
    return [_secret("HF_TOKEN", origin.token_secret_key or "token", False, token)] if token else []


def _secret(name: str, key: str, optional: bool, secret: str) -> Manifest:
    reference: Manifest = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def _port(origin: FetchedOrigin, settings: OperatorSettings) -> int:
    if isinstance(origin, HubOrigin):
        return port_of(_hub(origin, settings))
    return port_of(origin.endpoint) if origin.endpoint else CLOUD_PORT


def _hub(origin: HubOrigin, settings: OperatorSettings) -> str:
    return origin.endpoint or settings.hugging_face_endpoint
