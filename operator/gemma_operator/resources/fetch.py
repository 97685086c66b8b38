"""The container that fetches weights: an init container of each pod, or the container of the weights Job."""

from urllib.parse import urlsplit

from gemma_operator.api.manifest import Manifest
from gemma_operator.planning.plan import Plan, WeightsPlan
from gemma_operator.resources.containers import container_basics, mount, own_resources, variable
from gemma_operator.resources.layout import DEFAULT_REVISION, TEMPORARY_FOLDER, WEIGHTS_FOLDER
from gemma_operator.settings import OperatorSettings

WEIGHTS_CONTAINER = "weights"
WEIGHTS_VOLUME = "weights"
GATEWAY_TEMPORARY_VOLUME = "gateway-tmp"

_DEFAULT_PORTS = {"https": 443, "http": 80}


def is_fetched(weights: WeightsPlan) -> bool:
    """Whether anything has to be fetched at all."""
    return weights.repository is not None


def endpoint_of(weights: WeightsPlan, settings: OperatorSettings) -> str:
    """URL of the hub or its mirror."""
    return weights.endpoint or settings.hugging_face_endpoint


def endpoint_port(weights: WeightsPlan, settings: OperatorSettings) -> int:
    """Port of the hub or its mirror."""
    url = urlsplit(endpoint_of(weights, settings))
    return url.port or _DEFAULT_PORTS[url.scheme]


def weights_container(plan: Plan, settings: OperatorSettings) -> Manifest:
    """Fetches, verifies and resumes; its last word is JSON in the termination message."""
    weights = plan.weights
    container = container_basics(WEIGHTS_CONTAINER, settings.images.gateway, settings)
    container |= {
        "command": ["python3", "-m", "gemma_serving.weights"],
        "args": [
            f"--repository={weights.repository}",
            f"--revision={weights.revision or DEFAULT_REVISION}",
            f"--endpoint={endpoint_of(weights, settings)}",
            f"--target={WEIGHTS_FOLDER}",
            *(f"--file={pattern}" for pattern in weights.files),
        ],
        "env": [variable("HOME", TEMPORARY_FOLDER)],
        "resources": own_resources(settings.pods.weights),
        "volumeMounts": [
            mount(WEIGHTS_VOLUME, WEIGHTS_FOLDER),
            mount(GATEWAY_TEMPORARY_VOLUME, TEMPORARY_FOLDER),
        ],
    }
    if weights.token_secret_name is not None:
        container["env"].append(_token(weights.token_secret_name, weights.token_secret_key or "token"))
    return container


def _token(secret: str, key: str) -> Manifest:
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
