"""The containers that fetch weights: init containers of each pod, or the containers of the weights Job."""

from gemma_operator.api.manifest import Manifest
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


def is_fetched(weights: WeightsPlan) -> bool:
    """Whether anything has to be fetched at all."""
    return weights.repository is not None


def endpoint_of(weights: WeightsPlan, settings: OperatorSettings) -> str:
    """URL of the hub or its mirror."""
    return weights.endpoint or settings.hugging_face_endpoint


def endpoint_ports(plan: Plan, settings: OperatorSettings) -> list[int]:
    """Ports of the hubs or mirrors that the plan's files come from."""
    return sorted({port_of(endpoint_of(weights, settings)) for weights in plan.fetched})


def fetch_volume(plan: Plan) -> str:
    """Name of the volume that fetched files go to."""
    return WEIGHTS_VOLUME if is_fetched(plan.weights) else ADAPTERS_VOLUME


def fetch_containers(plan: Plan, settings: OperatorSettings) -> list[Manifest]:
    """One per repository, the model's last: an adapter with a wrong token fails before 50 GB have come."""
    adapters = [
        _container(f"{WEIGHTS_CONTAINER}-{adapter.name}", adapter.weights, plan, settings)
        for adapter in plan.adapters
        if is_fetched(adapter.weights)
    ]
    if plan.drafter is not None:
        adapters.append(_container(DRAFTER_CONTAINER, plan.drafter.weights, plan, settings))
    if not is_fetched(plan.weights):
        return adapters
    return [*adapters, _container(WEIGHTS_CONTAINER, plan.weights, plan, settings)]


def _container(name: str, weights: WeightsPlan, plan: Plan, settings: OperatorSettings) -> Manifest:
    """Fetches, verifies and resumes; its last word is JSON in the termination message."""
    container = container_basics(name, settings.images.gateway, settings)
    container |= {
        "command": ["python3", "-m", "gemma_serving.weights"],
        "args": [
            f"--repository={weights.repository}",
            f"--revision={weights.revision or DEFAULT_REVISION}",
            f"--endpoint={endpoint_of(weights, settings)}",
            f"--target={fetch_target(plan)}",
            *(f"--file={pattern}" for pattern in weights.files),
        ],
        "env": [variable("HOME", TEMPORARY_FOLDER), *egress_variables(settings)],
        "resources": own_resources(settings.pods.weights),
        "volumeMounts": [
            mount(fetch_volume(plan), fetch_target(plan)),
            mount(GATEWAY_TEMPORARY_VOLUME, TEMPORARY_FOLDER),
            *bundle_mounts(settings),
        ],
    }
    if weights.token_secret_name is not None:
        container["env"].append(_token(weights.token_secret_name, weights.token_secret_key or "token"))
    return container


def _token(secret: str, key: str) -> Manifest:
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
