"""What is particular to TensorRT-LLM, on the double of its LLM API."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gemma_serving.contract import DrafterConfig, Structure
from gemma_serving.engines.stop_text import showable
from gemma_serving.engines.tensorrt_llm import (
    TensorRTLLMEngine,
    engine_arguments,
    guided_values,
    kv_tokens_of,
    sampling_values,
)
from support import tensorrt_llm_double
from support.engine_cases import tensorrt_llm_on_a_double
from support.generating import ask, request
from support.runtime_configs import runtime_config
from support.tensorrt_llm_double import SURFACE, RequestError


@asynccontextmanager
async def loaded(**changes: Any) -> AsyncIterator[TensorRTLLMEngine]:
    case = tensorrt_llm_on_a_double()
    engine = TensorRTLLMEngine()
    await engine.load(replace(case.config, **changes))
    try:
        yield engine
    finally:
        await engine.close()


def peft_folder(folder: Path, rank: int) -> str:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(f'{{"r": {rank}}}')
    return str(folder)


def fields_of(version: str) -> set[str]:
    arguments = SURFACE["llm_arguments"]
    fields = set(arguments["1.2.1"])
    if version != "1.2.1":
        fields = fields - set(arguments["removed_by_1.4.0rc0"]) | set(arguments["added_by_1.4.0rc0"])
    return fields


@pytest.mark.parametrize("version", ["1.2.1", "1.4.0rc0"])
def test_arguments_are_known_to_the_version(tmp_path: Path, version: str) -> None:
    config = runtime_config(
        engine="tensorrt_llm", engine_version=version, adapters={"legal": peft_folder(tmp_path / "legal", 8)}
    )
    assert set(engine_arguments(config)) <= fields_of(version)


def test_usage_reports_are_switched_off_where_the_version_has_them() -> None:
    old, new = (
        engine_arguments(runtime_config(engine_version=version)) for version in ("1.2.1", "1.3.0rc29")
    )
    assert "telemetry_config" not in old
    assert new["telemetry_config"] == {"disabled": True}


def test_the_plans_arguments_win() -> None:
    arguments = engine_arguments(
        runtime_config(engine_version="1.2.1", engine_arguments={"max_batch_size": 7})
    )
    assert arguments["max_batch_size"] == 7


def test_every_sampling_value_is_one_the_library_has_and_none_that_matters_is_left_out() -> None:
    values = sampling_values(request(), 5, runtime_config(), [1, 106])
    assert set(values) <= set(SURFACE["sampling_params"])
    greedy_by_default = {"temperature", "top_k", "top_p", "min_p", "max_tokens"}
    assert all(values[name] is not None for name in greedy_by_default)


def test_zero_temperature_is_top_one_whatever_else_is_asked() -> None:
    values = sampling_values(request(temperature=0.0, top_k=40, top_p=0.5), 5, runtime_config(), [])
    assert (values["temperature"], values["top_k"], values["top_p"]) == (1.0, 1, 1.0)


def test_guides_are_passed_by_the_librarys_names() -> None:
    guides = [
        Structure(json_schema={"type": "object"}),
        Structure(regex="a"),
        Structure(grammar='root ::= "a"'),
    ]
    assert [next(iter(guided_values(guide))) for guide in guides] == ["json", "regex", "grammar"]
    assert {"json", "regex", "grammar"} <= set(SURFACE["guided_decoding_params"])


async def test_unknown_argument_fails_the_load_with_the_nearest_known() -> None:
    with pytest.raises(ValueError, match="'max_batchsize'; did you mean 'max_batch_size'"):
        async with loaded(engine_arguments={"max_batchsize": 4}):
            pass


async def test_inherited_mpi_job_is_left_before_the_library_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE"):
        monkeypatch.setenv(name, "1")
    async with loaded():
        assert not [name for name in os.environ if name.startswith(("OMPI_COMM_WORLD", "PMIX_", "PMI_"))]


async def test_speculative_config_goes_through_the_librarys_own_conversion() -> None:
    async with loaded(
        engine_arguments={"speculative_config": {"decoding_type": "NGram", "max_draft_len": 4}}
    ) as engine:
        assert (await ask(engine)).finished.reason == "length"


async def test_penalties_beside_a_drafter_are_refused_by_name() -> None:
    drafting = {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 2}}
    async with loaded(engine_arguments=drafting) as engine:
        answer = await ask(engine, presence_penalty=0.5)
        assert (answer.failed.code, answer.failed.param) == ("unsupported", "presence_penalty")
        assert (await ask(engine)).finished.reason == "length"


async def test_a_planned_drafter_is_the_librarys_multi_token_prediction() -> None:
    config = runtime_config(engine_version="1.4.0rc0", drafter=DrafterConfig("/weights/drafter", 3))
    assert engine_arguments(config)["speculative_config"] == {
        "decoding_type": "MTP",
        "max_draft_len": 3,
        "speculative_model": "/weights/drafter",
    }
    async with loaded(drafter=DrafterConfig("/weights/drafter", 3)) as engine:
        answer = await ask(engine, frequency_penalty=0.5)
        assert (answer.failed.code, answer.failed.param) == ("unsupported", "frequency_penalty")
        assert (await ask(engine)).finished.reason == "length"


async def test_adapters_are_requests_with_ids_from_one(tmp_path: Path) -> None:
    adapters = {name: peft_folder(tmp_path / name, 8) for name in ("french", "legal")}
    async with loaded(adapters=adapters) as engine:
        assert (await ask(engine, adapter="legal")).finished.reason == "length"
        lora = engine._lora_request("legal")
        assert (lora.lora_name, lora.lora_int_id, lora.lora_path) == ("legal", 2, adapters["legal"])


def test_folder_that_is_no_adapter_is_named(tmp_path: Path) -> None:
    config = runtime_config(engine_version="1.2.1", adapters={"legal": str(tmp_path)})
    with pytest.raises(ValueError, match=r"adapter 'legal': .* no PEFT folder"):
        engine_arguments(config)


@pytest.mark.parametrize(
    ("failure", "engine_survives"), [(RequestError("this one"), True), (OSError("worker died"), False)]
)
async def test_only_the_executors_own_failures_end_the_engine(
    failure: Exception, engine_survives: bool
) -> None:
    async with loaded() as engine:
        stream = engine.submit(request(max_tokens=50, ignore_eos=True))
        await anext(stream)
        await anext(stream)
        (running,) = engine._llm._running
        running._steps.put_nowait(failure)
        last = [event async for event in stream][-1]
        assert last.failed is not None
        assert last.failed.code == "engine_error"
        if engine_survives:
            assert (await ask(engine)).finished.reason == "length"
        else:
            assert (await ask(engine)).failed.code == "engine_error"
            with pytest.raises(RuntimeError, match="worker died"):
                engine.stats()


@pytest.mark.parametrize(
    ("record", "tokens"),
    [
        ({"kvCacheStats": {"usedNumBlocks": 3, "maxNumBlocks": 10, "tokensPerBlock": 32}}, (96, 320)),
        ({"kvCacheStats": None}, None),
        ({}, None),
    ],
)
def test_cache_numbers_come_from_the_record_if_it_has_any(record: dict[str, Any], tokens: Any) -> None:
    assert kv_tokens_of(record) == tokens


@given(
    st.text(alphabet="ab", max_size=8), st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3)
)
def test_held_back_is_the_longest_ending_that_may_become_a_stop_text(text: str, stop: list[str]) -> None:
    assume(not any(each in text for each in stop))  # the library has ended such a text already
    endings = [text[cut:] for cut in range(len(text)) if any(each.startswith(text[cut:]) for each in stop)]
    assert text[showable(text, stop) :] == max(endings, key=len, default="")


def test_characters_that_are_not_whole_are_held_back() -> None:
    assert showable("ab\ufffd\ufffd", []) == 2
    assert showable("a\ufffd", ["ab"]) == 0


def test_double_refuses_what_the_library_refuses() -> None:
    with pytest.raises(ValueError, match="invalid argument: max_batchsize"):
        tensorrt_llm_double.LLM(max_batchsize=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'topk'"):
        tensorrt_llm_double.SamplingParams(topk=1)
