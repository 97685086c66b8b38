"""vLLM's AsyncLLM: Hugging Face checkpoints on NVIDIA GPUs (and, in tests, on CPU).

Written against vLLM 0.24.0, 0.27.1 and 0.33.0 by their sources; run in tests with 0.32.0 for CPU. Not yet run
on a GPU.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.loggers import StatLoggerBase

from gemma_serving.contract import (
    FailureCode,
    FinishReason,
    GenerateRequest,
    MediaConfig,
    RuntimeConfig,
    Structure,
    TokenLogprob,
    TopLogprob,
)
from gemma_serving.engines.adapters import planned_rank, slots
from gemma_serving.engines.arguments import check_arguments
from gemma_serving.engines.families import family, media_kinds, with_one_bos, without_bos
from gemma_serving.engines.generation import Ending, EngineBase, Generation
from gemma_serving.engines.media import decoded_media
from gemma_serving.engines.protocol import EngineFailureError
from gemma_serving.engines.validation import answer_budget, refuse_beside_a_drafter
from gemma_serving.engines.vllm_adapters import VllmAdapters

LORA_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM accepts as max_lora_rank (vllm/config/lora.py)."""
SEED_LIMIT: Final = 2**63
"""torch.Generator takes a signed 64-bit seed."""
DRAFTING_LACKS: Final = ("min_p", "logit_bias")
"""What vLLM does not sample by beside a drafter (sampling_params.py, `_validate_spec_decode`)."""


def engine_arguments(config: RuntimeConfig) -> dict[str, Any]:
    """Return the keyword arguments of AsyncEngineArgs; the plan's win over the defaults here.

    Every default that hurts is set: vLLM would take 128 or 256 sequences, 92 % of the GPU's memory whatever
    the plan says, and 999 media items per request.
    """
    text_only = set(config.modalities) <= {"text"}
    most = (config.media or MediaConfig()).max_items
    defaults: dict[str, Any] = {
        "max_model_len": config.context_length,
        "max_num_seqs": config.max_concurrent_requests,
        "tensor_parallel_size": config.tensor_parallel_size,
        "scheduling_policy": "priority",
        "enable_log_requests": False,
        "disable_log_stats": True,  # our own logger reads the statistics
        "trust_remote_code": False,
        "limit_mm_per_prompt": dict.fromkeys(("image", "video", "audio"), 0 if text_only else most),
    }
    if slots(config):
        defaults |= {
            "enable_lora": True,
            "max_loras": slots(config),
            "max_cpu_loras": slots(config),
            "max_lora_rank": _lora_rank(config),
        }
    if config.drafter is not None:
        defaults["speculative_config"] = {
            "method": "mtp",
            "model": config.drafter.path,
            "num_speculative_tokens": config.drafter.tokens,
        }
    fixed = {"model": config.weights_path, "served_model_name": config.model}
    return {**defaults, **config.engine_arguments, **fixed}


def _lora_rank(config: RuntimeConfig) -> int:
    """Return the smallest max_lora_rank that vLLM accepts and that holds every adapter."""
    rank = planned_rank(config)
    for allowed in LORA_RANKS:
        if allowed >= rank:
            return allowed
    raise ValueError(f"an adapter has rank {rank}; vLLM takes at most {LORA_RANKS[-1]}")


def sampling_params(
    request: GenerateRequest, max_tokens: int, config: RuntimeConfig, stop_ids: list[int]
) -> SamplingParams:
    """Return vLLM's parameters with every value explicit."""
    row = family(config.family)
    return SamplingParams(
        n=1,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        seed=None if request.seed is None else request.seed % SEED_LIMIT,
        stop=list(request.stop),
        stop_token_ids=[] if request.ignore_eos else stop_ids,
        ignore_eos=request.ignore_eos,
        max_tokens=max_tokens,
        min_tokens=0,
        logprobs=request.logprobs,
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()} or None,
        detokenize=True,
        # Markup must reach the gateway as text; vLLM cuts the stop token itself in either case.
        skip_special_tokens=not row.markup_tokens,
        include_stop_str_in_output=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=_structured(request.structure),
    )


def _structured(structure: Structure | None) -> StructuredOutputsParams | None:
    if structure is None:
        return None
    if structure.json_schema is not None:
        return StructuredOutputsParams(json=structure.json_schema)
    if structure.regex is not None:
        return StructuredOutputsParams(regex=structure.regex)
    return StructuredOutputsParams(grammar=structure.grammar)


class _Gauges(StatLoggerBase):  # type: ignore[misc]  # vLLM ships no types
    """vLLM's scheduler statistics, copied on its loop as they come; that loop is ours."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self._cache = vllm_config.cache_config
        self.running = 0
        self.kv_cache_usage = 0.0

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        """Take one step's numbers; either part may be None."""
        if scheduler_stats is not None:
            self.running = scheduler_stats.num_running_reqs
            self.kv_cache_usage = scheduler_stats.kv_cache_usage

    def log_engine_initialized(self) -> None:
        """vLLM asks for a line in the log here; its own is enough."""

    @property
    def kv_total_tokens(self) -> int:
        """Return how many tokens the KV cache holds.

        What vLLM logs at start; blocks x block size in versions that do not keep that number.
        """
        logged = getattr(self._cache, "kv_cache_size_tokens", None)
        return int(logged or (self._cache.num_gpu_blocks or 0) * self._cache.block_size)


class VllmEngine(EngineBase):
    """See Engine."""

    def __init__(self) -> None:
        super().__init__()
        self._engine: AsyncLLM | None = None
        self._gauges: _Gauges | None = None
        self._adapters: VllmAdapters | None = None
        self._tokenizer_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")

    async def load(self, config: RuntimeConfig) -> None:
        """Load the checkpoint folder; blocks the loop for minutes, on which nothing else runs yet."""
        row = family(config.family)
        if not Path(config.weights_path).is_dir():
            raise FileNotFoundError(
                f"vLLM needs a Hugging Face checkpoint folder; there is none at {config.weights_path}"
            )
        arguments = engine_arguments(config)
        check_arguments("vLLM", arguments, [field.name for field in dataclasses.fields(AsyncEngineArgs)])

        def gauges(vllm_config: Any, engine_index: int = 0) -> _Gauges:
            self._gauges = _Gauges(vllm_config, engine_index)
            return self._gauges

        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[gauges])
        self._tokenizer = self._engine.get_tokenizer()
        if asyncio.iscoroutine(self._tokenizer):  # a coroutine up to vLLM 0.24
            self._tokenizer = await self._tokenizer
        vocabulary = self._tokenizer.get_vocab()
        self._stop_ids = [vocabulary[token] for token in row.stop_tokens if token in vocabulary]
        self._config = config
        self._adapters = VllmAdapters(self._engine, config)
        await self.adapt(config.adapters)
        if config.adapter_slots is None and self._failed_adapters:
            raise ValueError("; ".join(state.failure or "" for state in self._failed_adapters.values()))

    async def adapt(self, adapters: Mapping[str, str]) -> None:
        """See Engine.adapt."""
        assert self._adapters is not None
        self._failed_adapters = await self._adapters.hold(adapters)
        self._held_adapters = self._adapters.held()
        self._config = dataclasses.replace(self.config, adapters=self._held_adapters)

    async def close(self) -> None:
        """End running requests and stop the engine's processes."""
        self._dead = self._dead or "the engine has been closed"
        for generation in list(self._generations.values()):
            generation.cancel()
        while self._generations:
            await asyncio.sleep(0)
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None
        self._tokenizer_thread.shutdown(wait=False)

    def _death(self) -> str | None:
        if self._engine is not None and self._engine.errored:
            return "vLLM's engine process has died; its own messages are in the lines above"
        return super()._death()

    def _kv_tokens(self) -> tuple[int, int]:
        if self._gauges is None:
            return 0, 0
        # vLLM reports after a step only: without requests the last report would stay for ever.
        usage = self._gauges.kv_cache_usage if self._generations else 0.0
        return round(usage * self._gauges.kv_total_tokens), self._gauges.kv_total_tokens

    def _waiting(self) -> int:
        # What vLLM has not reported as running yet waits, if only for the next step.
        return max(0, len(self._generations) - (self._gauges.running if self._gauges else 0))

    async def _generate(self, generation: Generation) -> Ending:
        request, config = generation.request, self.config
        if config.drafter is not None:
            refuse_beside_a_drafter(request, DRAFTING_LACKS)
        text = without_bos(request.prompt or "")
        token_ids = with_one_bos(request.token_ids or await self._token_ids(text))
        budget = answer_budget(len(token_ids), request, config)
        prompt: dict[str, Any] = {"prompt_token_ids": token_ids}
        if generation.media:
            prompt["multi_modal_data"] = decoded_media(media_kinds(text, config.family), generation.media)
        generation.running = True
        pump = asyncio.create_task(self._pump(generation, prompt, budget))
        generation.on_cancel(pump.cancel)  # vLLM aborts a request whose iteration is cancelled
        try:
            return await pump
        except asyncio.CancelledError:
            if generation.cancelled:
                return Ending(FinishReason.CANCELLED)
            raise

    async def _token_ids(self, text: str) -> list[int]:
        loop = asyncio.get_running_loop()
        ids: list[int] = await loop.run_in_executor(self._tokenizer_thread, self._tokenizer.encode, text)
        return ids

    async def _pump(self, generation: Generation, prompt: dict[str, Any], budget: int) -> Ending:
        request = generation.request
        assert self._engine is not None
        assert self._adapters is not None
        accepted = False
        try:
            params = sampling_params(request, budget, self.config, self._stop_ids)
            outputs = self._engine.generate(
                prompt,
                params,
                request.id,
                lora_request=self._adapters.request(request.adapter),
                # Spans of vLLM's own, where engine.arguments name a collector (`otlp_traces_endpoint`).
                trace_headers=request.trace_context,
                priority=request.priority,
            )
            async for output in outputs:
                if not accepted:
                    accepted = True
                    token_ids = output.prompt_token_ids or prompt["prompt_token_ids"]
                    generation.accept(len(token_ids), token_ids)
                ending = self._take(generation, output)
                if ending is not None:
                    return ending
        except EngineDeadError as error:
            raise EngineFailureError(FailureCode.ENGINE_ERROR, self._death() or str(error)) from error
        except Exception as error:
            if not _is_the_callers_fault(error):
                raise
            param = "structure" if request.structure is not None else None
            raise EngineFailureError(
                FailureCode.INVALID_REQUEST, f"vLLM refuses the request: {error}", param
            ) from error
        raise EngineFailureError(FailureCode.ENGINE_ERROR, "vLLM ended the stream without saying why")

    def _take(self, generation: Generation, output: Any) -> Ending | None:
        (completion,) = output.outputs
        wanted = generation.request.logprobs
        logprobs = None if wanted is None else logprobs_of(completion, wanted)
        self._stepped(len(completion.token_ids))
        generation.delta(completion.text, len(completion.token_ids), logprobs)
        if completion.finish_reason in ("stop", "length"):
            return Ending(FinishReason(completion.finish_reason), output.num_cached_tokens or 0)
        if completion.finish_reason is not None:
            message = f"vLLM ended the request with {completion.finish_reason!r}"
            raise EngineFailureError(FailureCode.ENGINE_ERROR, message)
        return None


def _is_the_callers_fault(error: BaseException) -> bool:
    """Validation errors are ValueErrors up to vLLM 0.27 and VLLMClientErrors since (vllm/exceptions.py)."""
    return isinstance(error, ValueError) or any(
        cls.__name__ == "VLLMClientError" for cls in type(error).__mro__
    )


def logprobs_of(completion: Any, alternatives: int) -> list[TokenLogprob]:
    """Return the step's log probabilities (natural logarithm, before sampling), `alternatives` per token."""
    entries = []
    for token_id, position in zip(completion.token_ids, completion.logprobs or (), strict=False):
        best = sorted(position.values(), key=lambda one: one.rank or 0)[:alternatives]
        chosen = position[token_id]
        top = [TopLogprob(one.decoded_token or "", one.logprob) for one in best]
        entries.append(TokenLogprob(chosen.decoded_token or "", chosen.logprob, top))
    return entries
