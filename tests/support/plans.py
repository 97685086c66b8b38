"""Plans, specs and owners as rendering and status meet them, made by hand: planning has its own tests."""

from dataclasses import replace
from typing import Any

from gemma_operator.api.manifest import Owner
from gemma_operator.api.quantity import GIB, MIB
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec, Precision
from gemma_operator.planning.origin import ClaimOrigin, HubOrigin, Origin
from gemma_operator.planning.plan import HostResources, MemoryBudget, Plan, WeightsPlan

OWNER = Owner(name="assistant", namespace="team-a", uid="uid-assistant", generation=3)
COMMIT = "0123456789abcdef0123456789abcdef01234567"

HUB_WEIGHTS = WeightsPlan(
    origin=HubOrigin("google/gemma-3-270m", COMMIT),
    files=("gemma-3-270m-Q4_K_M.gguf",),
    entry="gemma-3-270m-Q4_K_M.gguf",
    size_bytes=253_113_024,
)

CLAIM_WEIGHTS = replace(HUB_WEIGHTS, origin=ClaimOrigin("models", "gemma/270m"), files=())

CPU_PLAN = Plan(
    variant="gemma-3-270m",
    family="gemma3",
    instruction_tuned=False,
    modalities=("text",),
    engine=EngineName.LLAMA_CPP,
    engine_version="0.2.0",
    image="registry.example/triton-cpu:1",
    accelerator="cpu",
    count=0,
    resource_name=None,
    node_selector={},
    tolerations=(),
    tensor_parallel_size=1,
    precision=Precision.Q4_K_M,
    context_length=8192,
    max_concurrent_requests=4,
    max_queued_requests=16,
    request_timeout_seconds=600,
    memory=MemoryBudget(
        usable_bytes=2 * GIB, weights_bytes=241 * MIB, kv_cache_bytes=128 * MIB, overhead_bytes=256 * MIB
    ),
    host=HostResources(
        cpu_millicores=1000,
        memory_bytes=2 * GIB,
        ephemeral_storage_bytes=512 * MIB,
        shared_memory_bytes=64 * MIB,
    ),
    threads=1,
    weights=HUB_WEIGHTS,
    predicted_load_seconds=5.0,
    sampling={"temperature": 1.0, "top_k": 64, "top_p": 0.95},
    engine_arguments={},
)

GPU_PLAN = replace(
    CPU_PLAN,
    variant="gemma-3-27b-it",
    instruction_tuned=True,
    engine=EngineName.VLLM,
    engine_version="0.11.0",
    image="nvcr.io/nvidia/tritonserver:26.06-vllm-python-py3",
    accelerator="nvidia-l4",
    count=4,
    resource_name="nvidia.com/gpu",
    node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    tensor_parallel_size=4,
    precision=Precision.BF16,
    threads=None,
    weights=replace(
        HUB_WEIGHTS,
        origin=HubOrigin("google/gemma-3-27b-it", COMMIT, token_secret_name="hub", token_secret_key="token"),
        files=("*.safetensors", "*.json"),
        entry=".",
        size_bytes=51 * GIB,
    ),
    predicted_load_seconds=300.0,
    host=HostResources(
        cpu_millicores=8000,
        memory_bytes=64 * GIB,
        ephemeral_storage_bytes=60 * GIB,
        shared_memory_bytes=4 * GIB,
    ),
)


def from_origin(plan: Plan, origin: Origin) -> Plan:
    """The plan with its model's files from elsewhere."""
    return replace(plan, weights=replace(plan.weights, origin=origin))


def spec_of(**fields: Any) -> GemmaDeploymentSpec:
    """A spec with the given top-level fields, as written in YAML."""
    return GemmaDeploymentSpec.model_validate({"model": {"variant": "gemma-3-270m"}, **fields})
