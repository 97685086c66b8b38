"""runtime.json: the serving contract's RuntimeConfig, filled from the plan."""

from gemma_operator.api.manifest import Owner
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.adapters import adapter_paths, largest_rank
from gemma_operator.resources.layout import drafter_path, weights_path
from gemma_operator.resources.media import media_config
from gemma_operator.resources.probes import REMOVAL_SECONDS
from gemma_operator.resources.protection import access_config, safety_config
from gemma_operator.resources.tracing import tracing_config
from gemma_operator.resources.watching import health_config, quality_config
from gemma_operator.settings import OperatorSettings
from gemma_serving.contract import DrafterConfig, EngineKind, RuntimeConfig, SamplingDefaults

_ENGINE_KINDS = {
    EngineName.LLAMA_CPP: EngineKind.LLAMA_CPP,
    EngineName.VLLM: EngineKind.VLLM,
    EngineName.TENSORRT_LLM: EngineKind.TENSORRT_LLM,
}


def runtime_config(
    owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings
) -> RuntimeConfig:
    """Everything a serving pod needs to know."""
    return RuntimeConfig(
        model=owner.name,
        variant=plan.variant,
        family=plan.family,
        engine=_ENGINE_KINDS[plan.engine].value,
        engine_version=plan.engine_version,
        precision=plan.precision.value,
        weights_path=weights_path(plan.weights),
        context_length=plan.context_length,
        max_concurrent_requests=plan.max_concurrent_requests,
        max_queued_requests=plan.max_queued_requests,
        request_timeout_seconds=plan.request_timeout_seconds,
        drain_seconds=plan.request_timeout_seconds,
        endpoint_removal_seconds=REMOVAL_SECONDS,
        tensor_parallel_size=plan.tensor_parallel_size,
        threads=plan.threads,
        instruction_tuned=plan.instruction_tuned,
        modalities=list(plan.modalities),
        sampling=_sampling(plan.sampling),
        engine_arguments=plan.engine_arguments,
        adapters=adapter_paths(plan),
        adapter_rank=largest_rank(plan),
        adapter_slots=None if plan.adapter_room is None else plan.adapter_room.count,
        drafter=_drafter(plan),
        access=access_config(spec),
        safety=safety_config(owner, spec),
        media=media_config(spec),
        quality=quality_config(spec),
        health=health_config(spec),
        tracing=tracing_config(settings),
        endpoint_picker_aliases=spec.monitoring.endpoint_picker_aliases or None,
    )


def _drafter(plan: Plan) -> DrafterConfig | None:
    path = drafter_path(plan)
    return None if path is None or plan.drafter is None else DrafterConfig(path, plan.drafter.tokens)


def _sampling(values: dict[str, float]) -> SamplingDefaults:
    defaults = SamplingDefaults()
    return SamplingDefaults(
        temperature=float(values.get("temperature", defaults.temperature)),
        top_k=int(values.get("top_k", defaults.top_k)),
        top_p=float(values.get("top_p", defaults.top_p)),
    )
