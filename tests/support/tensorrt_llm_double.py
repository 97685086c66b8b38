"""A DOUBLE of TensorRT-LLM's LLM API, for tests on machines without a GPU. Nothing of NVIDIA's is in here.

What it copies, each from the API's documents and sources (1.2.1; see
tests/support/tensorrt_llm_surface.json): names and defaults of the arguments, unknown ones refused with
ValueError; one output object per request, updated in place, with differences since the last step; stop
strings cut from `text` even where an earlier step gave their beginning; `generate_async` a plain function
that needs a running loop; `get_stats` a blocking call that hands each record out once and has none while
idle; `abort` ending a request as 'cancelled'. A toy model (toy_model.py) stands in for Gemma.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import threading
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from support.toy_model import (
    ToySequence,
    Wish,
    decode,
    encode,
    forced_by_grammar,
    forced_by_regex,
    forced_by_schema,
)

SURFACE: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("tensorrt_llm_surface.json").read_text())
STEP_SECONDS: Final = 0.004
BLOCK_TOKENS: Final = 32


class RequestError(RuntimeError):
    """A request failed in the executor."""


@dataclass
class Logprob:
    """One alternative."""

    logprob: float
    rank: int | None = None


class SamplingParams:
    """Keyword arguments only, as many as the library has; defaults as in the library."""

    def __init__(self, **values: Any) -> None:
        unknown = set(values) - set(SURFACE["sampling_params"])
        if unknown:
            raise TypeError(f"SamplingParams.__init__() got an unexpected keyword argument {min(unknown)!r}")
        for name, default in SURFACE["sampling_params"].items():
            setattr(self, name, values.get(name, default))


class GuidedDecodingParams:
    """Exactly one constraint."""

    def __init__(self, **values: Any) -> None:
        unknown = set(values) - set(SURFACE["guided_decoding_params"])
        if unknown:
            raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
        if sum(value is not None for value in values.values()) != 1:
            raise ValueError("exactly one guide")
        self.values = values


@dataclass
class LoRARequest:
    """Name, id from 1, path."""

    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class CompletionOutput:
    """Updated in place by each step."""

    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    _last_text: str = ""
    _last_tokens: int = 0

    @property
    def text_diff(self) -> str:
        """What the last step added."""
        return self.text[len(self._last_text) :]

    @property
    def token_ids_diff(self) -> list[int]:
        """What the last step added."""
        return self.token_ids[self._last_tokens :]

    @property
    def logprobs_diff(self) -> list[dict[int, Logprob]]:
        """What the last step added."""
        return self.logprobs[self._last_tokens :]


class RequestOutput:
    """Yields itself after every step."""

    def __init__(self, prompt_token_ids: list[int], params: SamplingParams, wish: Wish) -> None:
        asyncio.get_running_loop()  # the library's result creates its queue here, and needs a loop for it
        self.prompt_token_ids = prompt_token_ids
        self.params = params
        self.sequence = ToySequence(prompt_token_ids, wish)
        self.outputs = [CompletionOutput()]
        self.cached_tokens = 0
        self._steps: asyncio.Queue[Exception | None] = asyncio.Queue()
        self._aborted = False

    @property
    def finished(self) -> bool:
        """Whether the last step has been taken."""
        return self.outputs[0].finish_reason is not None

    def abort(self) -> None:
        """End the request."""
        self._aborted = True

    def aborted(self) -> bool:
        """Whether it was ended."""
        return self._aborted

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished and self._steps.empty():
            raise StopAsyncIteration
        failure = await self._steps.get()
        if failure is not None:
            raise failure
        return self

    def advance(self) -> None:
        """One step of the executor."""
        completion, params = self.outputs[0], self.params
        completion._last_text, completion._last_tokens = completion.text, len(completion.token_ids)
        if self._aborted:
            completion.finish_reason = "cancelled"
        else:
            self._generate(completion, params)
        self._steps.put_nowait(None)

    def _generate(self, completion: CompletionOutput, params: SamplingParams) -> None:
        token, logprobs = self.sequence.step()
        completion.token_ids.append(token)
        if params.logprobs is not None:
            ranked = {other: Logprob(value, rank) for rank, (other, value) in enumerate(logprobs.items(), 1)}
            wanted = dict(list(ranked.items())[: params.logprobs])
            completion.logprobs.append({**wanted, token: ranked[token]})
        if not params.ignore_eos and token in self.sequence.wish.stop_ids:
            completion.finish_reason, completion.stop_reason = "stop", token
            return
        # The library's incremental detokeniser waits for whole characters.
        completion.text = decode(completion.token_ids).rstrip("\ufffd")
        for stop in _as_list(params.stop):
            if stop in completion.text:
                completion.text = completion.text[: completion.text.index(stop)]
                completion.finish_reason, completion.stop_reason = "stop", stop
                return
        if len(completion.token_ids) >= params.max_tokens:
            completion.finish_reason = "length"


def _as_list(stop: str | list[str] | None) -> list[str]:
    return [stop] if isinstance(stop, str) else list(stop or [])


class Tokenizer:
    """The library's TransformersTokenizer, as far as it is used."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Ids of a text."""
        return encode(text, add_special_tokens)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        return decode(ids)


class LLM:
    """Keyword arguments of `fields` only; a loop task of its own takes the steps."""

    fields: frozenset[str] = frozenset(SURFACE["llm_arguments"]["1.2.1"])

    def __init__(self, **arguments: Any) -> None:
        unknown = set(arguments) - self.fields
        if unknown:
            raise ValueError(f"LLM got invalid argument: {min(unknown)}")
        if isinstance(arguments.get("speculative_config"), dict):
            raise ValueError("speculative_config: a plain dict cannot be validated in 1.2")
        self.args = arguments
        self.tokenizer = Tokenizer()
        self._waiting: list[RequestOutput] = []
        self._running: list[RequestOutput] = []
        self._stepping: asyncio.Task[None] | None = None
        self._records: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stats_readers: set[int] = set()
        self._shut_down = False

    def generate_async(
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: LoRARequest | None = None,
        streaming: bool = False,
        **_: Any,
    ) -> RequestOutput:
        """Tokenise and queue; a plain function."""
        if self._shut_down:
            raise RuntimeError("LLM is shutting down")
        params = sampling_params or SamplingParams()
        prompt = (
            inputs
            if isinstance(inputs, list)
            else encode(inputs["prompt"] if isinstance(inputs, dict) else inputs)
        )
        if len(prompt) + params.max_tokens > self.args["max_seq_len"]:
            raise ValueError("prompt length plus max_tokens exceeds max_seq_len")
        if params.temperature == 0:
            raise ValueError("temperature 0 is a sampler's own affair: the adapter must not rely on it")
        output = RequestOutput(prompt, params, self._wish(params))
        self._waiting.append(output)
        if self._stepping is None or self._stepping.done():
            self._stepping = asyncio.get_running_loop().create_task(self._steps())
        return output

    def _wish(self, params: SamplingParams) -> Wish:
        return Wish(
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            min_p=params.min_p,
            repetition_penalty=params.repetition_penalty,
            presence_penalty=params.presence_penalty,
            frequency_penalty=params.frequency_penalty,
            seed=params.seed,
            stop_ids=tuple(params.stop_token_ids or ()),
            forced=self._forced(params.guided_decoding),
        )

    def _forced(self, guide: GuidedDecodingParams | None) -> list[int]:
        if guide is None:
            return []
        if self.args.get("guided_decoding_backend") is None:
            raise ValueError("guided decoding needs guided_decoding_backend at load")
        readers: dict[str, Callable[[Any], list[int]]] = {
            "json": forced_by_schema,
            "regex": forced_by_regex,
            "grammar": forced_by_grammar,
        }
        ((name, value),) = [(name, value) for name, value in guide.values.items() if value is not None]
        return readers[name](value)

    async def _steps(self) -> None:
        while self._waiting or self._running:
            await asyncio.sleep(STEP_SECONDS)
            while self._waiting and len(self._running) < self.args["max_batch_size"]:
                self._running.append(self._waiting.pop(0))
            for output in self._running:
                output.advance()
            self._running = [output for output in self._running if not output.finished]
            self._waiting = [output for output in self._waiting if not output.aborted()]
            self._records.put(self._record())

    def _record(self) -> dict[str, Any]:
        used = sum(-(-len(o.prompt_token_ids + o.sequence.tokens) // BLOCK_TOKENS) for o in self._running)
        total = self.args["max_batch_size"] * -(-self.args["max_seq_len"] // BLOCK_TOKENS)
        cache = {"maxNumBlocks": total, "usedNumBlocks": used, "freeNumBlocks": total - used}
        return {
            "numActiveRequests": len(self._running),
            "numQueuedRequests": len(self._waiting),
            "kvCacheStats": {**cache, "tokensPerBlock": BLOCK_TOKENS},
        }

    def get_stats(self, timeout: float = 2) -> list[dict[str, Any]]:
        """Read records until none came for `timeout` seconds."""
        self._stats_readers.add(threading.get_ident())
        assert len(self._stats_readers) == 1, "only one thread may read statistics"
        records = []
        try:
            while True:
                records.append(self._records.get(timeout=timeout))
        except queue.Empty:
            return records

    def shutdown(self) -> None:
        """Stop the executor."""
        self._shut_down = True


class TorchLlmArgs:
    """The pydantic model, as far as it is used."""

    model_fields: dict[str, None] = dict.fromkeys(SURFACE["llm_arguments"]["1.2.1"])


def update_llm_args_with_extra_dict(llm_args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with nested dicts turned into configuration objects."""
    converted = {name: types.SimpleNamespace(**value) for name, value in extra.items()}
    return {**llm_args, **converted}


def install() -> None:
    """Make `import tensorrt_llm` find this double."""
    contents: dict[str, dict[str, Any]] = {
        "tensorrt_llm": {"LLM": LLM},
        "tensorrt_llm.sampling_params": {
            "SamplingParams": SamplingParams,
            "GuidedDecodingParams": GuidedDecodingParams,
        },
        "tensorrt_llm.executor": {"RequestError": RequestError},
        "tensorrt_llm.executor.request": {"LoRARequest": LoRARequest},
        "tensorrt_llm.llmapi": {},
        "tensorrt_llm.llmapi.llm_args": {"TorchLlmArgs": TorchLlmArgs},
        "tensorrt_llm.llmapi.llm_utils": {"update_llm_args_with_extra_dict": update_llm_args_with_extra_dict},
    }
    for name, members in contents.items():
        module = types.ModuleType(name, "a test double")
        vars(module).update(members)
        sys.modules[name] = module
