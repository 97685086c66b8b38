"""TensorRT-LLM's LLM API (PyTorch backend): Hugging Face checkpoints on NVIDIA GPUs.

Written against 1.2.1 and the 1.3/1.4 release candidates by their sources and documents; in tests against a
double of the API. Not yet run on a GPU.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from gemma_serving.contract import (
    FailureCode,
    FinishReason,
    GenerateRequest,
    RuntimeConfig,
    Structure,
    TokenLogprob,
    TopLogprob,
)
from gemma_serving.engines.adapters import planned_rank
from gemma_serving.engines.arguments import check_arguments
from gemma_serving.engines.families import family, media_kinds, with_one_bos, without_bos
from gemma_serving.engines.generation import Ending, EngineBase, Generation
from gemma_serving.engines.media import decoded_media
from gemma_serving.engines.protocol import EngineFailureError
from gemma_serving.engines.stop_text import showable
from gemma_serving.engines.validation import answer_budget, refuse_beside_a_drafter

STATS_PERIOD_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 0.001
"""Up to 1.2 get_stats reads until nothing came for this long.

Were it longer than a step, the call would not return under load.
"""
RPC_SECONDS: Final = 0.05
"""From 1.3 on get_stats is one remote call with this limit."""
RPC_SINCE: Final = (1, 3)
MPI_VARIABLES: Final = ("OMPI_COMM_WORLD_", "OMPI_MCA_orte_", "PMIX_", "PMI_")
"""A job's variables, inherited from mpirun or srun, make the workers that LLM spawns join that job."""
SEED_LIMIT: Final = 2**63
DRAFTING_LACKS: Final = ("repetition_penalty", "presence_penalty", "frequency_penalty")
"""What the library does not sample by beside one-model speculation (`enable_penalty`, off by default)."""
TELEMETRY_SINCE: Final = (1, 3)
"""First version that reports usage, and the first that accepts the switch."""

_log = logging.getLogger(__name__)


def engine_arguments(config: RuntimeConfig) -> dict[str, Any]:
    """Return the keyword arguments of LLM; the plan's win over the defaults here.

    Every default that hurts is set: 2,048 sequences, 8,192 tokens per step, no guided decoding, no
    statistics.
    """
    defaults: dict[str, Any] = {
        "max_seq_len": config.context_length,
        "max_batch_size": config.max_concurrent_requests,
        "tensor_parallel_size": config.tensor_parallel_size,
        "guided_decoding_backend": "xgrammar",
        "enable_iter_perf_stats": True,
        "trust_remote_code": False,
        "skip_tokenizer_init": False,
    }
    if version_of(config.engine_version) >= TELEMETRY_SINCE:
        defaults["telemetry_config"] = {"disabled": True}
    if config.adapters:
        defaults["enable_lora"] = True
        defaults["lora_config"] = {
            "lora_dir": [config.adapters[name] for name in sorted(config.adapters)],
            "max_lora_rank": planned_rank(config),
            "max_loras": len(config.adapters),
            "max_cpu_loras": len(config.adapters),
        }
    if config.drafter is not None:
        defaults["speculative_config"] = {
            "decoding_type": "MTP",
            "max_draft_len": config.drafter.tokens,
            "speculative_model": config.drafter.path,
        }
    return {**defaults, **config.engine_arguments, "model": config.weights_path}


def lacking_beside(drafting: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of requests that the library refuses beside this drafter, late and in other words."""
    lacks = drafting.get("decoding_type") == "MTP" and not drafting.get("enable_penalty")
    return DRAFTING_LACKS if lacks else ()


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor of "1.2.1" or "1.4.0rc1"; ValueError otherwise."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def sampling_values(
    request: GenerateRequest, max_tokens: int, config: RuntimeConfig, stop_ids: list[int]
) -> dict[str, Any]:
    """Return the arguments of SamplingParams but guided decoding, every one explicit.

    The library's defaults are greedy. It takes an unset temperature for greedy and leaves 0 to each sampler;
    top_k 1 is greedy in all of them.
    """
    greedy = request.temperature == 0
    return {
        "n": 1,
        "max_tokens": max_tokens,
        "min_tokens": None,
        "temperature": 1.0 if greedy else request.temperature,
        "top_k": 1 if greedy else request.top_k,
        "top_p": 1.0 if greedy else request.top_p,
        "min_p": 0.0 if greedy else request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": None if request.seed is None else request.seed % SEED_LIMIT,
        "stop": list(request.stop) or None,
        "stop_token_ids": (None if request.ignore_eos else stop_ids) or None,
        "ignore_eos": request.ignore_eos,
        "include_stop_str_in_output": False,
        "detokenize": True,
        "add_special_tokens": True,
        "skip_special_tokens": not family(config.family).markup_tokens,
        "logprobs": request.logprobs,
        "exclude_input_from_output": True,
    }


def guided_values(structure: Structure) -> dict[str, Any]:
    """Return the one argument of GuidedDecodingParams."""
    if structure.json_schema is not None:
        return {"json": structure.json_schema}
    if structure.regex is not None:
        return {"regex": structure.regex}
    return {"grammar": structure.grammar}


def kv_tokens_of(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return used and total tokens of one statistics record, None where it says nothing of the cache."""
    cache = record.get("kvCacheStats")
    if not cache:
        return None
    block: int = cache["tokensPerBlock"]
    return cache["usedNumBlocks"] * block, cache["maxNumBlocks"] * block


class TensorRTLLMEngine(EngineBase):
    """See Engine."""

    def __init__(self) -> None:
        super().__init__()
        self._llm: Any = None
        self._kv = (0, 0)
        self._closing = threading.Event()
        self._stats_thread = threading.Thread(target=self._watch_kv_cache, name="kv-stats", daemon=True)
        self._tokenizer_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")

    async def load(self, config: RuntimeConfig) -> None:
        """Load the checkpoint folder; takes minutes, on a thread of its own."""
        row = family(config.family)
        if not Path(config.weights_path).is_dir():
            raise FileNotFoundError(
                f"TensorRT-LLM needs a Hugging Face checkpoint folder; there is none at {config.weights_path}"
            )
        arguments = engine_arguments(config)
        self._llm = await asyncio.to_thread(_start, arguments)
        encode = self._llm.tokenizer.encode
        pieces = {token: encode(token, add_special_tokens=False) for token in row.stop_tokens}
        # A token that this checkpoint's vocabulary lacks comes out as several pieces.
        self._stop_ids = [ids[0] for ids in pieces.values() if len(ids) == 1]
        self._config = config
        self._held_adapters = dict(config.adapters)
        self._lacking = lacking_beside(arguments.get("speculative_config") or {})
        self._stats_thread.start()

    async def close(self) -> None:
        """End running requests and stop the library's worker processes."""
        self._dead = self._dead or "the engine has been closed"
        for generation in list(self._generations.values()):
            generation.cancel()
        while self._generations:
            await asyncio.sleep(0)
        self._closing.set()
        if self._llm is not None:
            await asyncio.to_thread(self._stop)
        self._tokenizer_thread.shutdown(wait=False)

    def _stop(self) -> None:
        self._stats_thread.join()
        self._llm.shutdown()
        self._llm = None

    def _watch_kv_cache(self) -> None:
        """Keep the KV cache's numbers fresh.

        The only reader of statistics: reading blocks, and two readers would take each other's records.
        """
        timeout = RPC_SECONDS if version_of(self.config.engine_version) >= RPC_SINCE else QUIET_SECONDS
        while not self._closing.wait(STATS_PERIOD_SECONDS):
            try:
                records = self._llm.get_stats(timeout=timeout)
            except Exception:  # statistics are not worth a request; the next look may work
                _log.warning("TensorRT-LLM gave no statistics", exc_info=True)
                continue
            known = [tokens for record in records if (tokens := kv_tokens_of(record)) is not None]
            if known:
                self._kv = known[-1]

    def _kv_tokens(self) -> tuple[int, int]:
        used, total = self._kv
        # Records come from executed steps only: without requests the last one would stay for ever.
        return (used if self._generations else 0), total

    async def _generate(self, generation: Generation) -> Ending:
        request, config = generation.request, self.config
        if request.logit_bias:
            message = "logit_bias is not available: TensorRT-LLM takes none per request"
            raise EngineFailureError(FailureCode.UNSUPPORTED, message, "logit_bias")
        refuse_beside_a_drafter(request, self._lacking)
        text = without_bos(request.prompt or "")
        inputs: Any = with_one_bos(request.token_ids or await self._token_ids(text))
        budget = answer_budget(len(inputs), request, config)
        if generation.media:
            # The library would decode ids beside media back to text; its processor adds the BOS.
            media = decoded_media(media_kinds(text, config.family), generation.media)
            inputs = {"prompt": text, "multi_modal_data": media}
        pump = asyncio.create_task(self._pump(generation, inputs, budget))
        generation.on_cancel(pump.cancel)
        try:
            return await pump
        except asyncio.CancelledError:
            if generation.cancelled:
                return Ending(FinishReason.CANCELLED)
            raise

    async def _token_ids(self, text: str) -> list[int]:
        loop = asyncio.get_running_loop()
        ids: list[int] = await loop.run_in_executor(self._tokenizer_thread, self._llm.tokenizer.encode, text)
        return ids

    async def _pump(self, generation: Generation, inputs: Any, budget: int) -> Ending:
        request = generation.request
        result: Any = None
        try:
            result = self._llm.generate_async(
                inputs=inputs,
                sampling_params=self._sampling_params(request, budget),
                lora_request=self._lora_request(request.adapter),
                streaming=True,
            )
            generation.accept(len(result.prompt_token_ids), result.prompt_token_ids)
            shown = 0
            async for output in result:
                generation.running = True
                shown = self._take(generation, output.outputs[0], shown)
            return _ending(result)
        except asyncio.CancelledError:
            if result is not None:
                result.abort()
            raise
        except (ValueError, TypeError) as error:
            param = "structure" if request.structure is not None else None
            message = f"TensorRT-LLM refuses the request: {error}"
            raise EngineFailureError(FailureCode.INVALID_REQUEST, message, param) from error
        except EngineFailureError:
            raise
        except Exception as error:
            if (
                type(error).__name__ != "RequestError"
            ):  # that one concerns this request; others come from the executor
                self._dead = f"TensorRT-LLM's executor has failed: {type(error).__name__}: {error}"
            raise

    def _take(self, generation: Generation, completion: Any, shown: int) -> int:
        """Show what has become certain; the object is the library's own, overwritten by its next step."""
        request, text = generation.request, completion.text
        certain = len(text) if completion.finish_reason is not None else showable(text, request.stop)
        tokens = len(completion.token_ids) - generation.completion_tokens
        logprobs = (
            None
            if request.logprobs is None
            else logprobs_of(completion, request.logprobs, self._llm.tokenizer)
        )
        self._stepped(tokens)
        generation.delta(text[shown:certain], tokens, logprobs)
        return max(shown, certain)

    def _sampling_params(self, request: GenerateRequest, budget: int) -> Any:
        from tensorrt_llm.sampling_params import GuidedDecodingParams, SamplingParams  # noqa: PLC0415

        guided = (
            None if request.structure is None else GuidedDecodingParams(**guided_values(request.structure))
        )
        values = sampling_values(request, budget, self.config, self._stop_ids)
        return SamplingParams(**values, guided_decoding=guided)

    def _lora_request(self, name: str | None) -> Any:
        if name is None:
            return None
        from tensorrt_llm.executor.request import LoRARequest  # noqa: PLC0415

        return LoRARequest(name, sorted(self.config.adapters).index(name) + 1, self.config.adapters[name])


def _start(arguments: dict[str, Any]) -> Any:
    """Return the loaded LLM.

    Imported here, not above: the environment must be clean before the library reads it.
    """
    for name in [name for name in os.environ if name.startswith(MPI_VARIABLES)]:
        del os.environ[name]
    from tensorrt_llm import LLM  # noqa: PLC0415
    from tensorrt_llm.llmapi.llm_args import TorchLlmArgs  # noqa: PLC0415
    from tensorrt_llm.llmapi.llm_utils import update_llm_args_with_extra_dict  # noqa: PLC0415

    check_arguments("TensorRT-LLM", arguments, TorchLlmArgs.model_fields)
    # In 1.2 a plain dict cannot become a speculative config; the library's own helper works in every version.
    drafting = {name: arguments[name] for name in ("speculative_config",) if arguments.get(name) is not None}
    return LLM(**{**arguments, **update_llm_args_with_extra_dict({}, drafting)})


def _ending(result: Any) -> Ending:
    reason = result.outputs[0].finish_reason
    if reason not in ("stop", "length"):
        raise EngineFailureError(FailureCode.ENGINE_ERROR, f"TensorRT-LLM ended the request with {reason!r}")
    return Ending(FinishReason(reason), getattr(result, "cached_tokens", 0) or 0)


def logprobs_of(completion: Any, alternatives: int, tokenizer: Any) -> list[TokenLogprob]:
    """Return the last step's log probabilities (natural logarithm), `alternatives` per token."""
    entries = []
    for token_id, position in zip(completion.token_ids_diff, completion.logprobs_diff or (), strict=False):
        best = sorted(position.items(), key=lambda item: item[1].rank or 0)[:alternatives]
        top = [TopLogprob(tokenizer.decode([other]), one.logprob) for other, one in best]
        entries.append(TokenLogprob(tokenizer.decode([token_id]), position[token_id].logprob, top))
    return entries
