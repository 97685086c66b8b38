"""The contract in llama.cpp's words: pure functions, no library.

Field names and limits: llama.cpp's tools/server/README.md and the behaviour of xllamacpp 2026.10.11549
(llama.cpp b11549), as the conformance tests see it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gemma_serving.contract import (
    FailureCode,
    GenerateRequest,
    RuntimeConfig,
    Structure,
    TokenLogprob,
    TopLogprob,
)
from gemma_serving.engines.families import PAD_ID, family, without_bos
from gemma_serving.engines.protocol import EngineFailureError

MEDIA_MARKER: Final = "<__media__>"
"""What stands for one image or audio clip in llama.cpp's prompt text (environment variable
LLAMA_MEDIA_MARKER).
"""
RANDOM_SEED: Final = 0xFFFFFFFF
"""llama.cpp's LLAMA_DEFAULT_SEED: draw one."""
CONTEXT_STEP_TOKENS: Final = 256
"""llama.cpp pads each sequence's context to a multiple of this."""
MAX_REPEAT_WINDOW: Final = 2**31 - 1
"""Penalties look at the whole sequence, as vLLM's do; llama.cpp's own default is its last 64 tokens."""
SAMPLERS: Final = ("penalties", "temperature", "min_p", "top_k", "top_p")
"""vLLM's order (vllm/v1/sample/sampler.py), so that the same request has the same distribution on every
engine.
"""
PROBE_BIAS: Final = 1000.0
"""Enough to outweigh any logit."""

ENGINE_ARGUMENTS: Final[dict[str, Any]] = {
    "n_batch": 512,
    "n_ubatch": 128,
    "n_ctx_checkpoints": 0,
    "cache_type_k": "f16",
    "cache_type_v": "f16",
    "mmproj": "",
}
"""Accepted `engine_arguments` with their defaults, where llama.cpp's own hurt in a small container:

n_ubatch (512) sizes the compute buffer at vocabulary x n_ubatch x 4 B, 514 MiB for Gemma 3; each of
n_ctx_checkpoints (32) holds one sliding window per slot (7.5 MiB for Gemma 3 270M). `mmproj` is the projector
file of multimodal variants.
"""


def engine_arguments(config: RuntimeConfig) -> dict[str, Any]:
    """Return the arguments with defaults filled in; ValueError names an unknown one and the known."""
    unknown = sorted(set(config.engine_arguments) - set(ENGINE_ARGUMENTS))
    if unknown:
        raise ValueError(
            f"engine argument {unknown[0]!r} is not known to llama.cpp here; "
            f"known: {', '.join(ENGINE_ARGUMENTS)}"
        )
    return {**ENGINE_ARGUMENTS, **config.engine_arguments}


def slot_context(config: RuntimeConfig) -> int:
    """Return the tokens of one slot's context: contextLength, padded as llama.cpp pads it."""
    return -(-config.context_length // CONTEXT_STEP_TOKENS) * CONTEXT_STEP_TOKENS


def completion_body(
    request: GenerateRequest, prompt: list[int] | str | dict[str, Any], max_tokens: int, config: RuntimeConfig
) -> dict[str, Any]:
    """Return the body of a streaming completion; every sampling value is explicit."""
    stop_tokens = [] if request.ignore_eos else list(family(config.family).stop_tokens)
    body: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "max_tokens": max_tokens,
        "samplers": list(SAMPLERS),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "min_keep": 1,
        "repeat_penalty": request.repetition_penalty,
        "repeat_last_n": MAX_REPEAT_WINDOW,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": RANDOM_SEED if request.seed is None else request.seed % RANDOM_SEED,
        # A special token has no text in llama.cpp unless preserved. As text, a stop token can be a stop
        # string, which is never shown, also where the file's own list of end tokens forgets it.
        "preserved_tokens": [*stop_tokens, *family(config.family).markup_tokens],
        "stop": [*request.stop, *stop_tokens],
        "ignore_eos": request.ignore_eos,
        "cache_prompt": True,
        "timings_per_token": True,
        "return_progress": True,
    }
    if request.logprobs is not None:
        # The in-process and the HTTP completions call it differently.
        body["logprobs"] = body["n_probs"] = max(1, request.logprobs)
    if request.logit_bias:
        body["logit_bias"] = [[int(token), bias] for token, bias in request.logit_bias.items()]
    if config.adapters:
        body["lora"] = [
            {"id": index, "scale": float(name == request.adapter)}
            for index, name in enumerate(sorted(config.adapters))
        ]
    return body


def media_prompt(request: GenerateRequest, media: Sequence[bytes], config: RuntimeConfig) -> dict[str, Any]:
    """Return the prompt with its media, marked where the family's placeholders stood."""
    words = family(config.family)
    text = without_bos(request.prompt or "")
    for placeholder in (words.image_placeholder, words.audio_placeholder):
        if placeholder is not None:
            text = text.replace(placeholder, MEDIA_MARKER)
    return {"prompt_string": text, "multimodal_data": [base64.b64encode(item).decode() for item in media]}


def grammar_of(structure: Structure) -> str:
    """Return the grammar text: GBNF as it came, JSON schema and regex in llguidance's Lark dialect."""
    if structure.grammar is not None:
        return structure.grammar
    if structure.json_schema is not None:
        return f"%llguidance {{}}\nstart: %json {json.dumps(structure.json_schema)}\n"
    pattern = (structure.regex or "").replace("\\/", "/").replace("/", "\\/").replace("\n", "\\n")
    return f"%llguidance {{}}\nstart: /{pattern}/\n"


def probe_body(grammar: str) -> dict[str, Any]:
    """Return a one-token completion that shows whether llama.cpp applies the grammar.

    It drops a grammar that llguidance cannot compile and generates freely. No text contains `<pad>`, so with
    all weight on that token only a grammar in force keeps it from coming out.
    """
    return {
        "prompt": "",  # becomes the BOS alone
        "max_tokens": 1,
        "temperature": 0.0,
        "grammar": grammar,
        "logit_bias": [[PAD_ID, PROBE_BIAS]],
        "logprobs": 1,
        "cache_prompt": False,
    }


def probe_applies(answer: Mapping[str, Any]) -> bool:
    """Return whether the answer to `probe_body` shows a grammar in force."""
    content = ((answer.get("choices") or [{}])[0].get("logprobs") or {}).get("content") or []
    return all(token.get("id") != PAD_ID for token in content)


def failure_of(error: Mapping[str, Any]) -> EngineFailureError:
    """Return llama.cpp's error object in the contract's terms."""
    message = str(error.get("message", "llama.cpp gave no reason"))
    kind = str(error.get("type", ""))
    if kind == "exceed_context_size_error":
        return EngineFailureError(FailureCode.CONTEXT_LENGTH_EXCEEDED, message, "prompt")
    if "grammar" in message:
        return EngineFailureError(
            FailureCode.INVALID_REQUEST, f"the grammar cannot be used: {message}", "structure"
        )
    if error.get("code") == 400:
        return EngineFailureError(FailureCode.INVALID_REQUEST, message)
    if kind == "unavailable_error":
        return EngineFailureError(FailureCode.OVERLOADED, message)
    return EngineFailureError(FailureCode.ENGINE_ERROR, f"llama.cpp: {message}")


def logprobs_of(choice: Mapping[str, Any], alternatives: int) -> list[TokenLogprob] | None:
    """Return the chunk's log probabilities (natural logarithm, before sampling), `alternatives` per token."""
    content = (choice.get("logprobs") or {}).get("content")
    if not content:
        return None
    return [
        TokenLogprob(
            token=entry["token"],
            logprob=entry["logprob"],
            top=[TopLogprob(top["token"], top["logprob"]) for top in entry["top_logprobs"][:alternatives]],
        )
        for entry in content
    ]
