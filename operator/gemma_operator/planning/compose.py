"""From a fit to the plan that resources renders: images, files, host resources, engine arguments, outlook."""

from dataclasses import replace
from typing import Any

from gemma_operator.api.quantity import gib
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec
from gemma_operator.catalog.hardware_rows import Accelerator, EngineVersion
from gemma_operator.catalog.rows import Checkpoint
from gemma_operator.planning.adapter_room import adapter_room
from gemma_operator.planning.adapters import adapter_plans
from gemma_operator.planning.cpu import MILLICORES
from gemma_operator.planning.drafting import drafter_plan
from gemma_operator.planning.engine_arguments import gpu_arguments, llama_cpp_arguments, modalities_of
from gemma_operator.planning.fit import CpuFit, GpuFit
from gemma_operator.planning.host import cpu_host, gpu_host
from gemma_operator.planning.origin import BucketOrigin, HubOrigin, origin_of
from gemma_operator.planning.outlook import cpu_outlook, file_bytes_of, gpu_outlook
from gemma_operator.planning.plan import CPU, DrafterPlan, MemoryBudget, Plan, WeightsPlan
from gemma_operator.planning.startup import load_seconds
from gemma_operator.planning.wish import Wish
from gemma_operator.settings import PlanningSettings

QUEUE_PER_SLOT = 4
"""api.md: 4 x concurrency."""
GGUF = ".gguf"
GPU_LABEL = "cloud.google.com/gke-accelerator"
GFD_LABEL = "nvidia.com/gpu.product"
PARTITION_LABEL = "cloud.google.com/gke-gpu-partition-size"
ARCHITECTURE_LABEL = "kubernetes.io/arch"
"""Label of every node; on GKE also the taint of Arm nodes."""
GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
"""GPU nodes carry this taint on GKE and by convention elsewhere; tolerating it never hurts."""


def compose(fit: GpuFit | CpuFit, wish: Wish, spec: GemmaDeploymentSpec, settings: PlanningSettings) -> Plan:
    """The plan of a fit."""
    if isinstance(fit, CpuFit):
        return _cpu_plan(fit, wish, spec, settings)
    return _gpu_plan(fit, wish, spec, settings)


def _cpu_plan(fit: CpuFit, wish: Wish, spec: GemmaDeploymentSpec, settings: PlanningSettings) -> Plan:
    weights = _weights_plan(fit.checkpoint, spec, fit.weights_bytes)
    adapters = adapter_plans(spec.model.adapters, wish)
    fetched = _fetched_bytes(spec, weights, *(adapter.weights for adapter in adapters))
    outlook = cpu_outlook(fit, wish, fetched)
    return Plan(
        **_common(wish, spec, fit.checkpoint, fit.concurrency),
        modalities=("text",),
        engine=EngineName.LLAMA_CPP,
        engine_version=fit.version.version,
        image=spec.engine.image or settings.triton_cpu_image,
        accelerator=CPU,
        count=0,
        resource_name=None,
        node_selector={},
        tolerations=(),
        tensor_parallel_size=1,
        memory=MemoryBudget(fit.memory_bytes, fit.weights_bytes, fit.kv_bytes, fit.overhead_bytes),
        host=cpu_host(fit, fetched),
        threads=max(1, fit.cpu_millicores // MILLICORES),
        weights=weights,
        predicted_load_seconds=load_seconds(outlook.startup),
        engine_arguments={**llama_cpp_arguments(), **spec.engine.arguments},
        explanations=(
            f"{fit.checkpoint.precision.value} from {fit.checkpoint.repository} on llama.cpp is "
            f"{fit.verdict.status.value}: {fit.verdict.note}",
            *_own_image(spec, fit.version),
            f"{fit.concurrency} slots of {wish.context} tokens take {gib(fit.kv_bytes)} GiB of KV cache",
            *_room_sentence(spec, fit.version.engine),
            *(("llama.cpp compiles nothing: compileCache is idle",) if spec.engine.compile_cache else ()),
        ),
        outlook=outlook,
        adapters=adapters,
    )


def _gpu_plan(fit: GpuFit, wish: Wish, spec: GemmaDeploymentSpec, settings: PlanningSettings) -> Plan:
    size = file_bytes_of(fit)
    weights = _weights_plan(fit.checkpoint, spec, size)
    adapters, drafter = adapter_plans(spec.model.adapters, wish), drafter_plan(wish.drafting, spec)
    beside = [one.weights for one in (*adapters, *((drafter,) if drafter else ()))]
    fetched = _fetched_bytes(spec, weights, *beside)
    outlook = gpu_outlook(fit, wish, fetched)
    tag = settings.gpu_image_tags.get(fit.version.engine.value, fit.version.tag)
    demand = fit.demand
    return Plan(
        **_common(wish, spec, fit.checkpoint, fit.concurrency),
        modalities=modalities_of(fit, wish),
        engine=fit.version.engine,
        engine_version=fit.version.version,
        image=spec.engine.image or f"{settings.gpu_image_repository}:{tag}",
        accelerator=fit.accelerator_key,
        count=fit.count,
        resource_name=fit.accelerator.resource_name,
        node_selector=_node_selector(fit.accelerator),
        tolerations=_tolerations(fit.accelerator),
        tensor_parallel_size=fit.count,
        memory=MemoryBudget(
            usable_bytes=demand.usable_bytes,
            weights_bytes=demand.weights.bytes,
            kv_cache_bytes=fit.concurrency * demand.cache.request_bytes(wish.context),
            overhead_bytes=demand.overhead_bytes,
        ),
        host=gpu_host(wish, fit, size, fetched),
        threads=None,
        weights=weights,
        predicted_load_seconds=load_seconds(outlook.startup),
        engine_arguments={**gpu_arguments(fit, wish), **spec.engine.arguments},
        explanations=(
            f"{fit.checkpoint.precision.value} from {fit.checkpoint.repository} on "
            f"{fit.version.engine.value} "
            f"{fit.version.version} is {fit.verdict.status.value}: {fit.verdict.note}",
            *_own_image(spec, fit.version),
            *_driver(fit.version),
            f"{gib(demand.pool_bytes)} GiB of KV cache per accelerator hold {fit.concurrency} requests of "
            f"{wish.context} tokens",
            *_drafting(drafter),
            *_room_sentence(spec, fit.version.engine),
        ),
        outlook=outlook,
        adapters=adapters,
        adapter_room=adapter_room(spec.model) if _takes_adapters_up(spec, fit.version.engine) else None,
        drafter=drafter,
    )


def _own_image(spec: GemmaDeploymentSpec, version: EngineVersion) -> tuple[str, ...]:
    if spec.engine.image is None:
        return ()
    assumed = f"{version.engine.value} {version.version}"
    return (f"image {spec.engine.image} is the spec's own; the plan assumes that it holds {assumed}",)


def _driver(version: EngineVersion) -> tuple[str, ...]:
    if version.minimum_driver is None:
        return ()
    asked = f"NVIDIA driver {version.minimum_driver} or newer for its CUDA {version.cuda}"
    return (f"image {version.tag} asks for {asked}",)


def _common(
    wish: Wish, spec: GemmaDeploymentSpec, checkpoint: Checkpoint, concurrency: int
) -> dict[str, Any]:
    sampling = wish.variant.sampling
    queued = spec.capacity.max_queued_requests
    return {
        "variant": wish.variant_key,
        "family": wish.variant.family,
        "instruction_tuned": wish.variant.form == "it",
        "precision": checkpoint.precision,
        "context_length": wish.context,
        "max_concurrent_requests": concurrency,
        "max_queued_requests": QUEUE_PER_SLOT * concurrency if queued is None else queued,
        "request_timeout_seconds": spec.capacity.request_timeout_seconds,
        "sampling": {
            "temperature": sampling.temperature,
            "top_k": float(sampling.top_k),
            "top_p": sampling.top_p,
        },
    }


def _weights_plan(checkpoint: Checkpoint, spec: GemmaDeploymentSpec, size: int) -> WeightsPlan:
    source = spec.model.source
    origin = origin_of(source) if source else HubOrigin(checkpoint.repository)
    if isinstance(origin, HubOrigin):
        is_pinned = origin.revision is None and origin.repository == checkpoint.repository
        pinned = replace(origin, revision=checkpoint.revision) if is_pinned else origin
        return WeightsPlan(pinned, checkpoint.files, checkpoint.entry, size)
    if isinstance(origin, BucketOrigin):
        # Like a claim's path, a uri may name one GGUF file, whatever it is called.
        file = (origin.uri.rpartition("/")[2],) if origin.uri.endswith(GGUF) else None
        return WeightsPlan(origin, file or checkpoint.files, file[0] if file else checkpoint.entry, size)
    return WeightsPlan(origin, (), "." if (origin.path or "").endswith(GGUF) else checkpoint.entry, size)


def _takes_adapters_up(spec: GemmaDeploymentSpec, engine: EngineName) -> bool:
    """Whether adapters come to running pods: llama.cpp's library has no call for it."""
    return spec.model.adapter_slots is not None and engine is EngineName.VLLM


def _room_sentence(spec: GemmaDeploymentSpec, engine: EngineName) -> tuple[str, ...]:
    if spec.model.adapter_slots is None:
        return ()
    if not _takes_adapters_up(spec, engine):
        return (
            f"{engine.value} loads adapters at start only: with adapterSlots, too, a change takes new pods",
        )
    room = adapter_room(spec.model)
    return (f"{room.count} adapters of rank {room.rank} or less come and go without new pods",)


def _drafting(drafter: DrafterPlan | None) -> tuple[str, ...]:
    if drafter is None:
        return ()
    return (
        f"{drafter.weights.origin.source} guesses {drafter.tokens} tokens per step; speed is planned as if "
        "none were right",
    )


def _fetched_bytes(spec: GemmaDeploymentSpec, *files: WeightsPlan) -> int:
    """Bytes that each pod fetches into its own disk: none with a shared cache or from a mounted volume."""
    return sum(one.size_bytes for one in files if spec.cache is None and one.is_fetched)


def _tolerations(accelerator: Accelerator) -> tuple[dict[str, str], ...]:
    if accelerator.host_architecture == "amd64":
        return (dict(GPU_TAINT),)
    architecture = {"key": ARCHITECTURE_LABEL, "operator": "Equal", "value": accelerator.host_architecture}
    return (dict(GPU_TAINT), {**architecture, "effect": "NoSchedule"})


def _node_selector(accelerator: Accelerator) -> dict[str, str]:
    if accelerator.label:
        selector = {GPU_LABEL: accelerator.label}
    elif accelerator.gfd_products:
        selector = {GFD_LABEL: accelerator.gfd_products[0]}
    else:
        return {}
    if accelerator.host_architecture != "amd64":
        selector[ARCHITECTURE_LABEL] = accelerator.host_architecture
    if accelerator.parent is not None:
        selector[PARTITION_LABEL] = accelerator.resource_name.removeprefix("nvidia.com/mig-")
    return selector
