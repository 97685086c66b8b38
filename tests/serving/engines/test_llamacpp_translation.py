"""The contract in llama.cpp's words."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_serving.contract import Structure
from gemma_serving.engines.llamacpp import cpu_limit
from gemma_serving.engines.llamacpp_translation import (
    MEDIA_MARKER,
    completion_body,
    engine_arguments,
    failure_of,
    grammar_of,
    media_prompt,
    probe_applies,
    slot_context,
)
from support.generating import request
from support.runtime_configs import runtime_config

SAMPLING_FIELDS = {
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "samplers",
    "max_tokens",
    "ignore_eos",
}


def test_every_sampling_value_is_explicit() -> None:
    assert set(completion_body(request(), [2], 5, runtime_config())) >= SAMPLING_FIELDS


@pytest.mark.parametrize(
    ("seed", "sent"), [(None, 0xFFFFFFFF), (0, 0), (7, 7), (-1, 0xFFFFFFFE), (2**40, 256)]
)
def test_any_seed_becomes_one_that_llama_cpp_does_not_take_for_random(seed: int | None, sent: int) -> None:
    assert completion_body(request(seed=seed), [2], 5, runtime_config())["seed"] == sent


def test_stop_tokens_of_the_family_are_always_added() -> None:
    body = completion_body(request(stop=["\n"]), [2], 5, runtime_config(family="gemma4"))
    assert body["stop"] == ["\n", "<eos>", "<turn|>", "<|tool_response>"]
    assert set(body["stop"][1:]) <= set(body["preserved_tokens"])


def test_markup_that_the_gateway_reads_stays_text() -> None:
    body = completion_body(request(), [2], 5, runtime_config(family="gemma4"))
    assert {"<|tool_call>", "<tool_call|>", "<|channel>"} <= set(body["preserved_tokens"])
    assert "<|tool_call>" not in body["stop"]


def test_ignoring_the_end_leaves_only_the_callers_stop_texts() -> None:
    body = completion_body(request(stop=["\n"], ignore_eos=True), [2], 5, runtime_config())
    assert (body["stop"], body["ignore_eos"]) == (["\n"], True)


def test_only_the_chosen_adapter_has_weight() -> None:
    config = runtime_config(adapters={"legal": "/a.gguf", "french": "/b.gguf"})
    body = completion_body(request(adapter="legal"), [2], 5, config)
    assert body["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
    assert "lora" not in completion_body(request(), [2], 5, runtime_config())


def test_media_take_the_places_of_the_familys_placeholders() -> None:
    config = runtime_config(family="gemma4", modalities=["text", "image", "audio"])
    prompt = media_prompt(request("<bos>see <|image|> hear <|audio|>"), [b"png", b"wav"], config)
    assert prompt["prompt_string"] == f"see {MEDIA_MARKER} hear {MEDIA_MARKER}"
    assert [base64.b64decode(item) for item in prompt["multimodal_data"]] == [b"png", b"wav"]


def test_regex_is_quoted_for_larks_slashes() -> None:
    assert grammar_of(Structure(regex=r"a/b\/c")) == "%llguidance {}\nstart: /a\\/b\\/c/\n"


def test_unknown_engine_argument_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'n_ubtach' .* known: n_batch, n_ubatch"):
        engine_arguments(runtime_config(engine_arguments={"n_ubtach": 64}))


@pytest.mark.parametrize(("asked", "padded"), [(1, 256), (256, 256), (257, 512), (8192, 8192)])
def test_slot_context_is_padded_as_llama_cpp_pads(asked: int, padded: int) -> None:
    assert slot_context(replace(runtime_config(), context_length=asked)) == padded


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            {"code": 400, "type": "exceed_context_size_error", "message": "too long"},
            "context_length_exceeded",
        ),
        (
            {"code": 400, "type": "invalid_request_error", "message": "failed to parse grammar"},
            "invalid_request",
        ),
        ({"code": 503, "type": "unavailable_error", "message": "loading"}, "overloaded"),
        ({"code": 500, "type": "server_error", "message": "out of memory"}, "engine_error"),
        ({}, "engine_error"),
    ],
)
def test_library_errors_become_the_contracts(error: dict[str, object], code: str) -> None:
    assert failure_of(error).code == code


def test_probe_sees_a_dropped_grammar() -> None:
    def said(token_id: int) -> dict[str, object]:
        return {"choices": [{"logprobs": {"content": [{"id": token_id}]}}]}

    assert probe_applies(said(1234))
    assert not probe_applies(said(0))


@pytest.mark.parametrize(
    ("written", "cpus"), [("150000 100000", 1), ("50000 100000", 1), ("garbage", None), ("max 100000", None)]
)
def test_cpu_limit_follows_the_cgroup(tmp_path: Path, written: str, cpus: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(written)
    everything = cpu_limit(tmp_path / "absent")
    assert cpu_limit(file) == (everything if cpus is None else cpus)
