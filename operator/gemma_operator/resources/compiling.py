"""Where an engine keeps the kernels and graphs it compiles: in its pod, or in a claim for pods to come."""

from gemma_operator.api.manifest import Manifest, content_hash
from gemma_operator.api.quantity import GIB
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.containers import claim_volume, empty_volume, mount, variable
from gemma_operator.resources.layout import CACHE_FOLDER

CACHE_VOLUME = "cache"
CACHE_BYTES = 10 * GIB
"""Compiled kernels and graphs of vLLM and TensorRT-LLM."""
CACHE_VARIABLES = (
    "XDG_CACHE_HOME",
    "TRITON_CACHE_DIR",
    "VLLM_CACHE_ROOT",
    "TORCHINDUCTOR_CACHE_DIR",
    "FLASHINFER_WORKSPACE_BASE",
    "CUDA_CACHE_PATH",
)
"""Of vLLM, Triton's and PyTorch's compilers, FlashInfer's kernels and the driver's own."""


def compiles(plan: Plan) -> bool:
    """Engines of NVIDIA's images compile kernels at start; llama.cpp in ours does not."""
    return plan.engine is not EngineName.LLAMA_CPP


def compile_key(plan: Plan) -> str:
    """Identity of what is compiled: another image, accelerator or configuration finds nothing of it.

    An image named by its digest is told apart from the next one under the same tag; one named by tag is not.
    """
    return content_hash(
        [plan.image, plan.accelerator, plan.count, plan.weights.key, plan.engine_arguments, _adapters(plan)]
    )


def _adapters(plan: Plan) -> list[int]:
    """Their number and ranks shape the kernels; their values do not."""
    if plan.adapter_room is not None:
        return [plan.adapter_room.rank] * plan.adapter_room.count
    return [adapter.rank for adapter in plan.adapters]


def cache_folder(spec: GemmaDeploymentSpec, plan: Plan) -> str:
    """Folder of this pod's caches; in a claim it is one among others."""
    return CACHE_FOLDER if spec.engine.compile_cache is None else f"{CACHE_FOLDER}/{compile_key(plan)}"


def cache_variables(spec: GemmaDeploymentSpec, plan: Plan) -> list[Manifest]:
    """What tells each library where to keep what it compiles."""
    if not compiles(plan):
        return []
    return [variable(name, f"{cache_folder(spec, plan)}/{name.lower()}") for name in CACHE_VARIABLES]


def cache_mounts(plan: Plan) -> list[Manifest]:
    """Mount of the engine's container."""
    return [mount(CACHE_VOLUME, CACHE_FOLDER)] if compiles(plan) else []


def cache_volumes(spec: GemmaDeploymentSpec, plan: Plan) -> list[Manifest]:
    """The claim, or scratch space."""
    if not compiles(plan):
        return []
    if spec.engine.compile_cache is not None:
        return [claim_volume(CACHE_VOLUME, spec.engine.compile_cache.claim_name, read_only=False)]
    return [empty_volume(CACHE_VOLUME, CACHE_BYTES)]
