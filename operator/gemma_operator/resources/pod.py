"""The serving pod: repository writer, weights fetcher, triton and the gateway (docs/architecture.md)."""

from gemma_operator.api.manifest import Manifest, Owner, short_name
from gemma_operator.api.quantity import GIB, MIB, format_bytes, format_millicores
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec
from gemma_operator.planning.origin import FetchedOrigin
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.adapters import adapter_mounts, adapter_volumes, fetched_volume
from gemma_operator.resources.compiling import cache_mounts, cache_variables, cache_volumes, compiles
from gemma_operator.resources.containers import (
    claim_volume,
    container_basics,
    empty_volume,
    mount,
    mounted_volume,
    own_resources,
    pod_basics,
    variable,
)
from gemma_operator.resources.egress import bundle_volumes
from gemma_operator.resources.fetch import (
    GATEWAY_TEMPORARY_VOLUME,
    WEIGHTS_VOLUME,
    fetch_containers,
)
from gemma_operator.resources.layout import (
    ADMIN_PORT,
    API_PORT,
    CONFIG_FOLDER,
    CONFIG_PATH,
    MODELS_FOLDER,
    RUN_FOLDER,
    SHARED_MEMORY_FOLDER,
    TEMPORARY_FOLDER,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
    WEIGHTS_FOLDER,
    config_name,
)
from gemma_operator.resources.persistentvolumeclaim import cache_claim_name
from gemma_operator.resources.placement import placement
from gemma_operator.resources.probes import (
    TRITON_EXIT_SECONDS,
    gateway_probes,
    termination_grace_seconds,
    triton_lifecycle,
    triton_probes,
)
from gemma_operator.resources.protection import protection_mounts, protection_volumes
from gemma_operator.settings import OperatorSettings

TRITON = "/opt/tritonserver/bin/tritonserver"

MODELS_BYTES = 64 * MIB
"""config.pbtxt, model.py and the contract beside it: far below a MiB."""
TEMPORARY_BYTES = GIB
"""Triton unpacks Python environments below /tmp."""
GATEWAY_TEMPORARY_BYTES = 64 * MIB
RUN_BYTES = MIB
"""One empty file."""


def serving_pod(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    """Spec of the pod template."""
    writers = [_repository(settings)]
    if spec.cache is None:
        writers += fetch_containers(plan, settings)
    return {
        **pod_basics(short_name(owner.name), settings),
        "terminationGracePeriodSeconds": termination_grace_seconds(plan),
        "initContainers": writers,
        "containers": [_triton(spec, plan, settings), _gateway(spec, plan, settings)],
        "volumes": [
            *_volumes(owner, spec, plan),
            *(bundle_volumes(settings) if spec.cache is None and plan.fetched else ()),
        ],
        **placement(owner, spec, plan, settings),
    }


def _repository(settings: OperatorSettings) -> Manifest:
    return {
        **container_basics("repository", settings.images.gateway, settings),
        "command": ["python3", "-m", "gemma_serving.repository"],
        "args": [f"--config={CONFIG_PATH}", f"--target={MODELS_FOLDER}"],
        "resources": own_resources(settings.pods.gateway),
        "volumeMounts": [
            mount("config", CONFIG_FOLDER, read_only=True),
            mount("models", MODELS_FOLDER),
            mount(GATEWAY_TEMPORARY_VOLUME, TEMPORARY_FOLDER),
        ],
    }


def _gateway(spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    return {
        **container_basics("gateway", settings.images.gateway, settings),
        "command": ["python3", "-m", "gemma_serving.gateway"],
        "args": [f"--config={CONFIG_PATH}"],
        "env": [variable("HOME", TEMPORARY_FOLDER)],
        "ports": [
            {"name": "http", "containerPort": API_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": own_resources(settings.pods.gateway),
        **gateway_probes(plan),
        "volumeMounts": [
            mount("config", CONFIG_FOLDER, read_only=True),
            mount(WEIGHTS_VOLUME, WEIGHTS_FOLDER, read_only=True),
            mount("run", RUN_FOLDER),
            mount(GATEWAY_TEMPORARY_VOLUME, TEMPORARY_FOLDER),
            *protection_mounts(spec),
        ],
    }


def _triton(spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    mounts = [
        mount("models", MODELS_FOLDER, read_only=True),
        mount(WEIGHTS_VOLUME, WEIGHTS_FOLDER, read_only=True),
        mount("shm", SHARED_MEMORY_FOLDER),
        mount("run", RUN_FOLDER, read_only=True),
        mount("tmp", TEMPORARY_FOLDER),
        *adapter_mounts(plan),
        *cache_mounts(plan),
    ]
    return {
        **container_basics("triton", plan.image, settings),
        "args": _arguments(plan),
        "env": _environment(spec, plan),
        "resources": _resources(plan),
        **triton_probes(plan),
        "lifecycle": triton_lifecycle(),
        "volumeMounts": mounts,
    }


def _arguments(plan: Plan) -> list[str]:
    """Arguments, not a command: NVIDIA's entry point picks the CUDA libraries that suit the node's driver."""
    return [
        TRITON,
        f"--model-repository={MODELS_FOLDER}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        "--http-address=127.0.0.1",
        f"--http-port={TRITON_HTTP_PORT}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={TRITON_GRPC_PORT}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={TRITON_METRICS_PORT}",
        "--allow-metrics=true",
        f"--allow-gpu-metrics={'true' if plan.count else 'false'}",
        f"--exit-timeout-secs={TRITON_EXIT_SECONDS}",
    ]


def _environment(spec: GemmaDeploymentSpec, plan: Plan) -> list[Manifest]:
    environment = [
        variable("HOME", TEMPORARY_FOLDER),
        # The model repository is code: mounted read-only, so nothing may be compiled beside it.
        variable("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    if compiles(plan):
        environment += [variable("HF_HUB_OFFLINE", "1"), variable("VLLM_NO_USAGE_STATS", "1")]
    return [*environment, *cache_variables(spec, plan)]


def _resources(plan: Plan) -> Manifest:
    host = plan.host
    cpu = format_millicores(host.cpu_millicores)
    memory = format_bytes(host.memory_bytes)
    requests = {
        "cpu": cpu,
        "memory": memory,
        "ephemeral-storage": format_bytes(host.ephemeral_storage_bytes),
    }
    limits = {"memory": memory}
    if plan.engine is EngineName.LLAMA_CPP:
        # Its threads follow the limit: more threads than cores make each token slower.
        limits["cpu"] = cpu
    if plan.resource_name is not None:
        requests[plan.resource_name] = limits[plan.resource_name] = str(plan.count)
    return {"requests": requests, "limits": limits}


def _volumes(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan) -> list[Manifest]:
    volumes = [
        {"name": "config", "configMap": {"name": config_name(owner)}},
        empty_volume("models", MODELS_BYTES),
        _weights_volume(owner, spec, plan),
        empty_volume("shm", plan.host.shared_memory_bytes, medium="Memory"),
        empty_volume("run", RUN_BYTES, medium="Memory"),
        empty_volume("tmp", TEMPORARY_BYTES),
        empty_volume(GATEWAY_TEMPORARY_VOLUME, GATEWAY_TEMPORARY_BYTES),
    ]
    volumes += cache_volumes(spec, plan)
    return [*volumes, *adapter_volumes(plan), *protection_volumes(spec)]


def _weights_volume(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan) -> Manifest:
    origin = plan.weights.origin
    if not isinstance(origin, FetchedOrigin):
        return mounted_volume(WEIGHTS_VOLUME, origin)
    if spec.cache is not None:
        return claim_volume(WEIGHTS_VOLUME, cache_claim_name(owner, spec.cache, plan), read_only=True)
    return fetched_volume(WEIGHTS_VOLUME, plan)
