"""What is particular to vLLM, on the real library; run inside its environment by test_vllm_on_cpu.py."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vllm.config import SpeculativeConfig

from gemma_serving.contract import DrafterConfig, MediaConfig
from gemma_serving.engines.vllm import VllmEngine, engine_arguments, sampling_params
from support.generating import ask, request
from support.gguf_file import LORA_RANK, write_peft
from support.processes import child_processes, command_line
from support.runtime_configs import runtime_config
from support.vllm_runtime import gemma_270m_on_cpu

PATIENCE_SECONDS = 120


@asynccontextmanager
async def loaded(**changes: Any) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine()
    await engine.load(replace(gemma_270m_on_cpu(), **changes))
    try:
        yield engine
    finally:
        await engine.close()


def peft_folder(folder: Path, rank: int) -> str:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return str(folder)


def test_defaults_that_hurt_are_set() -> None:
    arguments = engine_arguments(runtime_config(context_length=4096, max_concurrent_requests=7))
    assert (arguments["max_model_len"], arguments["max_num_seqs"]) == (4096, 7)
    assert set(arguments["limit_mm_per_prompt"].values()) == {0}


def test_media_limit_is_the_gateways() -> None:
    config = runtime_config(modalities=["text", "image"], media=MediaConfig(max_items=3))
    assert engine_arguments(config)["limit_mm_per_prompt"]["image"] == 3


def test_a_drafter_is_a_speculative_config_that_the_library_has() -> None:
    config = runtime_config(drafter=DrafterConfig("/weights/drafter", 3))
    drafting = engine_arguments(config)["speculative_config"]
    assert drafting == {"method": "mtp", "model": "/weights/drafter", "num_speculative_tokens": 3}
    assert drafting.keys() <= {field.name for field in dataclasses.fields(SpeculativeConfig)}
    assert "speculative_config" not in engine_arguments(runtime_config())


def test_the_plans_arguments_win_but_the_weights_are_the_pods() -> None:
    config = runtime_config(engine_arguments={"max_num_seqs": 3, "model": "elsewhere"})
    arguments = engine_arguments(config)
    assert (arguments["max_num_seqs"], arguments["model"]) == (3, config.weights_path)


@pytest.mark.parametrize(("rank", "accepted"), [(4, 8), (16, 16), (33, 64)])
def test_rank_is_rounded_up_to_one_that_vllm_takes(tmp_path: Path, rank: int, accepted: int) -> None:
    adapters = {"small": peft_folder(tmp_path / "small", 1), "large": peft_folder(tmp_path / "large", rank)}
    arguments = engine_arguments(runtime_config(adapters=adapters))
    assert (arguments["max_lora_rank"], arguments["max_loras"]) == (accepted, 2)


def test_rank_beyond_vllms_largest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rank 1024; vLLM takes at most 512"):
        engine_arguments(runtime_config(adapters={"huge": peft_folder(tmp_path / "huge", 1024)}))


def test_markup_is_text_where_the_gateway_reads_it() -> None:
    plain, marked = (
        sampling_params(request(), 5, runtime_config(family=family), [1]) for family in ("gemma3", "gemma4")
    )
    assert (plain.skip_special_tokens, marked.skip_special_tokens) == (True, False)


async def test_adapters_answer_each_in_its_own_way_and_none_as_the_model(tmp_path: Path) -> None:
    adapters = {
        name: str(write_peft(tmp_path / name, seed=seed, strength=0.3))
        for seed, name in enumerate(("zebra", "aardvark"))
    }
    async with loaded(adapters=adapters, adapter_rank=LORA_RANK) as engine:
        base, zebra, aardvark, again = [
            (await ask(engine, adapter=name)).text for name in (None, "zebra", "aardvark", None)
        ]
    assert len({base, zebra, aardvark}) == 3
    assert base == again


async def test_unknown_argument_fails_the_load_with_the_nearest_known() -> None:
    with pytest.raises(ValueError, match="'max_num_seq'; did you mean 'max_num_seqs'"):
        async with loaded(engine_arguments={"max_num_seq": 4}):
            pass


async def test_killed_engine_process_is_noticed_without_a_request() -> None:
    async with loaded() as engine:
        assert (await ask(engine)).finished.reason == "length"
        # Python's own tracker goes on: it removes the semaphores of the dead.
        pids = child_processes(os.getpid())
        children = [pid for pid in pids if "resource_tracker" not in command_line(pid)]
        assert children, "the engine core is a process of its own"
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (death := engine._death()) is None:
                await asyncio.sleep(0.05)
        assert "died" in death
        with pytest.raises(RuntimeError, match="died"):
            engine.stats()
        assert (await ask(engine)).failed.code == "engine_error"
