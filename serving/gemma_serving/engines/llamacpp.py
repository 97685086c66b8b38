"""llama.cpp through xllamacpp: GGUF files on CPU, continuous batching over llama.cpp's slots.

One library call per running request blocks a thread of its own and calls back per token; the GIL is free
meanwhile. The library also insists on an HTTP listener. It gets a Unix socket in a private folder and a
random key, so that no port is open; we use it ourselves (llamacpp_socket.py).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import xllamacpp

from gemma_serving.contract import FailureCode, FinishReason, RuntimeConfig, Structure
from gemma_serving.engines.families import family, with_one_bos, without_bos
from gemma_serving.engines.generation import Ending, EngineBase, Generation
from gemma_serving.engines.llamacpp_socket import LlamaCppSocket
from gemma_serving.engines.llamacpp_translation import (
    MEDIA_MARKER,
    completion_body,
    engine_arguments,
    failure_of,
    grammar_of,
    logprobs_of,
    media_prompt,
    probe_applies,
    probe_body,
    slot_context,
)
from gemma_serving.engines.lora_gguf import gguf_of
from gemma_serving.engines.protocol import EngineFailureError
from gemma_serving.engines.slots import SlotQueue
from gemma_serving.engines.validation import answer_budget

KNOWN_GRAMMARS: Final = 256
"""How many grammars are remembered as usable: each costs one probe of one token."""
TOKENIZER_THREADS: Final = 2
CGROUP_CPU_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")
QUIET: Final = 1
"""llama.cpp's verbosity: errors only."""


def cpu_limit(cpu_max: Path = CGROUP_CPU_LIMIT) -> int:
    """Return the whole CPUs this container may use, at least 1.

    Args:
        cpu_max: cgroup v2's file, quota and period in µs.
    """
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return available
    return available if quota == "max" else max(1, min(available, int(quota) // int(period)))


def _parameters(config: RuntimeConfig, socket_path: Path, key: str) -> Any:
    """Return llama.cpp's parameters for this pod; ValueError names what is wrong."""
    arguments = engine_arguments(config)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = config.weights_path
    parameters.n_parallel = config.max_concurrent_requests
    parameters.n_ctx = slot_context(config) * config.max_concurrent_requests
    parameters.kv_unified = False
    parameters.ctx_shift = False
    for name in ("n_batch", "n_ubatch", "n_ctx_checkpoints"):
        setattr(parameters, name, int(arguments[name]))
    for name in ("cache_type_k", "cache_type_v"):
        setattr(parameters, name, getattr(xllamacpp.ggml_type, f"GGML_TYPE_{str(arguments[name]).upper()}"))
    threads = config.threads or cpu_limit()
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # Each request with media holds one for as long as it runs.
    parameters.n_threads_http = TOKENIZER_THREADS + config.max_concurrent_requests
    parameters.cache_ram_mib = 0  # the library would keep up to 8 GiB of old prompts in host memory
    parameters.fit_params = False  # the plan has sized the context; the library must not shrink it silently
    parameters.n_gpu_layers = 0
    parameters.hostnames = [str(socket_path)]
    parameters.api_keys = [key]
    parameters.endpoint_slots = False
    parameters.ui = False
    parameters.verbosity = QUIET
    parameters.video_ffmpeg_bin_dir = "/nonexistent"  # nothing from outside may start a decoder process
    if arguments["mmproj"]:
        parameters.mmproj.path = str(arguments["mmproj"])
    parameters.lora_init_without_apply = True
    parameters.lora_adapters = [_adapter(config.adapters[name]) for name in sorted(config.adapters)]
    return parameters


def _adapter(path: str) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path = path
    adapter.scale = 1.0
    return adapter


def _start(config: RuntimeConfig, socket_path: Path, key: str) -> Any:
    """Return the running library; RuntimeError with the usual causes where it refuses."""
    parameters = _parameters(config, socket_path, key)
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        size = Path(config.weights_path).stat().st_size
        adapters = f", with adapters {', '.join(sorted(config.adapters))}" if config.adapters else ""
        raise RuntimeError(
            f"llama.cpp could not load {config.weights_path} ({size} bytes){adapters}; its own messages "
            "are in the lines above. Usual causes: a file is cut short, no GGUF or (an adapter) made for "
            "another model; or memory is too small for context length x slots."
        ) from error


class LlamaCppEngine(EngineBase):
    """See Engine."""

    def __init__(self) -> None:
        super().__init__()
        self._server: Any = None
        self._folder: Path | None = None
        self._key = secrets.token_urlsafe(32)
        self._usable_grammars: OrderedDict[str, None] = OrderedDict()

    async def load(self, config: RuntimeConfig) -> None:
        """Load the GGUF file; FileNotFoundError, ValueError or RuntimeError say what is wrong."""
        family(config.family)
        self._held_adapters = dict(config.adapters)
        if config.drafter is not None:
            raise ValueError("llama.cpp is deployed without drafters: leave engine.drafter out")
        if not Path(config.weights_path).is_file():
            raise FileNotFoundError(f"llama.cpp needs a GGUF file; there is none at {config.weights_path}")
        os.environ["LLAMA_MEDIA_MARKER"] = MEDIA_MARKER
        self._folder = Path(tempfile.mkdtemp(prefix="gemma-llamacpp-"))
        socket_path = self._folder / "llama.sock"
        self._socket = LlamaCppSocket(socket_path, self._key)
        slots = config.max_concurrent_requests
        self._slots = SlotQueue(slots)
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="llamacpp")
        self._tokenizers = ThreadPoolExecutor(TOKENIZER_THREADS, thread_name_prefix="tokenize")
        try:
            adapters = {
                name: str(gguf_of(Path(path), config.family, self._folder, name))
                for name, path in config.adapters.items()
            }
            config = replace(config, adapters=adapters)
            self._server = await asyncio.to_thread(_start, config, socket_path, self._key)
        except BaseException:
            await self.close()
            raise
        self._config = config
        self._takes_text = bool(engine_arguments(config)["mmproj"])
        # The first grammar makes llama.cpp index the whole vocabulary for seconds, in which no stream moves.
        await self._usable_grammar(grammar_of(Structure(json_schema={"type": "object"})))

    async def close(self) -> None:
        """End running requests, stop the library and remove its socket."""
        self._dead = self._dead or "the engine has been closed"
        for generation in list(self._generations.values()):
            generation.cancel()
        if self._folder is None:
            return
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._pool.shutdown(wait=True)
        self._tokenizers.shutdown(wait=True)
        self._server = None  # its destructor ends the library's threads
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _kv_tokens(self) -> tuple[int, int]:
        config = self.config
        return self._tokens_in_flight(), slot_context(config) * config.max_concurrent_requests

    async def _generate(self, generation: Generation) -> Ending:
        request, config = generation.request, self.config
        token_ids = await self._token_ids(generation)
        # With media, what counts here is a lower bound: only llama.cpp knows how many tokens they become.
        budget = answer_budget(len(token_ids), request, config)
        if request.structure is None and not generation.media:
            generation.accept(len(token_ids), token_ids)
        place = self._slots.request(request.priority)
        generation.on_cancel(place.cancel)
        try:
            await place
        except asyncio.CancelledError:
            if generation.cancelled:
                return Ending(FinishReason.CANCELLED)
            raise
        try:
            body = completion_body(request, self._prompt(generation, token_ids), budget, config)
            if request.structure is not None:
                body["grammar"] = await self._usable_grammar(grammar_of(request.structure))
                if not generation.media:
                    generation.accept(len(token_ids), token_ids)
            generation.running = True
            return await self._complete(generation, body)
        finally:
            self._slots.release()

    def _prompt(self, generation: Generation, token_ids: list[int]) -> list[int] | str | dict[str, Any]:
        if generation.media:
            return media_prompt(generation.request, generation.media, self.config)
        return without_bos(generation.request.prompt or "") if self._takes_text else token_ids

    async def _token_ids(self, generation: Generation) -> list[int]:
        request = generation.request
        if request.token_ids is not None and self._takes_text:
            message = "token_ids cannot be used in a deployment with media: llama.cpp takes text only there"
            raise EngineFailureError(FailureCode.UNSUPPORTED, message, "token_ids")
        if request.token_ids is not None:
            return with_one_bos(request.token_ids)
        text = without_bos(request.prompt or "")
        loop = asyncio.get_running_loop()
        return with_one_bos(await loop.run_in_executor(self._tokenizers, self._socket.tokenize, text))

    async def _usable_grammar(self, grammar: str) -> str:
        """Return the grammar if llama.cpp really applies it; EngineFailureError if not."""
        if grammar in self._usable_grammars:
            self._usable_grammars.move_to_end(grammar)
            return grammar
        answers: list[dict[str, Any]] = []

        def on_answer(answer: dict[str, Any]) -> bool:
            answers.append(answer)
            return False

        await asyncio.get_running_loop().run_in_executor(
            self._pool, self._server.handle_completions, probe_body(grammar), on_answer
        )
        error = next((answer["error"] for answer in answers if "error" in answer), None)
        if error is not None:
            raise failure_of(error)
        if not answers or not all(probe_applies(answer) for answer in answers):
            raise EngineFailureError(
                FailureCode.INVALID_REQUEST,
                "llama.cpp cannot compile this json_schema, grammar or regex: check its syntax and leave out "
                "features that llguidance does not know (lookaround, back references)",
                "structure",
            )
        self._usable_grammars[grammar] = None
        if len(self._usable_grammars) > KNOWN_GRAMMARS:
            self._usable_grammars.popitem(last=False)
        return grammar

    async def _complete(self, generation: Generation, body: dict[str, Any]) -> Ending:
        loop = asyncio.get_running_loop()
        progress = _Progress(self, generation)

        def on_chunk(chunk: dict[str, Any]) -> bool:
            """Runs on the library's thread; true ends the request there."""
            loop.call_soon_threadsafe(progress.take, chunk)
            return generation.cancelled

        complete = self._socket.complete if generation.media else self._server.handle_completions
        await loop.run_in_executor(self._pool, complete, body, on_chunk)
        # The executor's result and the chunks go through the same queue of the loop, in order.
        return progress.ending()


class _Progress:
    """Turns llama.cpp's chunks into what the generation is told."""

    def __init__(self, engine: LlamaCppEngine, generation: Generation) -> None:
        self._engine = engine
        self._generation = generation
        self._ending: Ending | None = None
        self._failure: EngineFailureError | None = None

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one chunk of the stream."""
        if "error" in chunk:
            self._failure = failure_of(chunk["error"])
            return
        generation = self._generation
        total = (chunk.get("prompt_progress") or {}).get("total")
        if total is not None and not generation.prompt_tokens:
            self._accept_media(total)
        choice = chunk["choices"][0]
        usage = chunk.get("usage")
        generated = (chunk.get("timings") or {}).get("predicted_n", 0)
        if usage is not None:
            generated = usage["completion_tokens"]
        tokens = max(0, generated - generation.completion_tokens)
        logprobs = None
        if generation.request.logprobs is not None:
            logprobs = logprobs_of(choice, generation.request.logprobs)
        self._engine._stepped(tokens)
        generation.delta(choice["text"], tokens, logprobs)
        if choice["finish_reason"] is not None:
            cached = ((usage or {}).get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            reason = FinishReason.LENGTH if choice["finish_reason"] == "length" else FinishReason.STOP
            self._ending = Ending(reason, cached)

    def _accept_media(self, total: int) -> None:
        """Only llama.cpp knows how many tokens the media became: check and accept as soon as it says."""
        try:
            answer_budget(total, self._generation.request, self._engine.config)
        except EngineFailureError as failure:
            self._failure = failure
            self._generation.cancel()
            return
        self._generation.accept(total)

    def ending(self) -> Ending:
        """Return how the stream ended.

        Raises the failure that llama.cpp reported, or one for a stream that broke off.
        """
        if self._failure is not None:
            raise self._failure
        if self._ending is not None:
            return self._ending
        if self._generation.cancelled:
            return Ending(FinishReason.CANCELLED)
        raise EngineFailureError(FailureCode.ENGINE_ERROR, "llama.cpp ended the stream without saying why")
