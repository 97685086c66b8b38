"""LoRA adapters on the real llama.cpp with the real Gemma 3 270M."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gemma_serving.engines.llamacpp import LlamaCppEngine
from support.generating import ask
from support.gguf_file import write_lora
from support.triton_runtime import gemma_270m_config

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppEngine]:
    folder = tmp_path_factory.mktemp("lora")
    adapters = {
        name: str(write_lora(folder / f"{name}.gguf", seed=seed, strength=0.3))
        for seed, name in enumerate(("zebra", "aardvark"))
    }
    engine = LlamaCppEngine()
    await engine.load(gemma_270m_config(context_length=256, max_concurrent_requests=3, adapters=adapters))
    yield engine
    await engine.close()


async def test_each_name_selects_its_own_weights_and_none_selects_none(engine: LlamaCppEngine) -> None:
    base, zebra, aardvark, again = [
        (await ask(engine, adapter=name)).text for name in (None, "zebra", "aardvark", None)
    ]
    assert len({base, zebra, aardvark}) == 3
    assert base == again


async def test_adapters_do_not_leak_into_requests_beside_them(engine: LlamaCppEngine) -> None:
    names = (None, "zebra", "aardvark")
    alone = [(await ask(engine, adapter=name)).text for name in names]
    together = await asyncio.gather(*(ask(engine, adapter=name) for name in names))
    assert [answer.text for answer in together] == alone


async def test_file_that_is_no_adapter_fails_the_load(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    engine = LlamaCppEngine()
    with pytest.raises(RuntimeError, match="could not load"):
        await engine.load(gemma_270m_config(context_length=256, adapters={"broken": str(broken)}))
