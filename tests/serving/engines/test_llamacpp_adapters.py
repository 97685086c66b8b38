"""LoRA adapters on the real llama.cpp with the real Gemma 3 270M."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gemma_serving.engines.adapters import PEFT_CONFIG
from gemma_serving.engines.llamacpp import LlamaCppEngine
from gemma_serving.engines.lora_gguf import PEFT_WEIGHTS, gguf_of
from support.generating import ask
from support.gguf_file import LAYERS, LORA_RANK, lora_contents, safetensors, write_lora
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


def write_peft_folder(folder: Path, gguf: Path, **settings: object) -> Path:
    """The adapter of a GGUF file as PEFT would have saved it, same numbers."""
    folder.mkdir()
    (folder / PEFT_CONFIG).write_text(json.dumps({"r": LORA_RANK, "lora_alpha": LORA_RANK, **settings}))
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": content
        for layer in range(LAYERS)
        for side, content in zip("AB", lora_contents(gguf, layer), strict=True)
    }
    (folder / PEFT_WEIGHTS).write_bytes(safetensors(tensors))
    return folder


async def test_peft_folder_answers_as_the_same_adapter_in_gguf(tmp_path: Path) -> None:
    gguf = write_lora(tmp_path / "made.gguf", seed=3, strength=0.3)
    adapters = {"gguf": str(gguf), "peft": str(write_peft_folder(tmp_path / "peft", gguf))}
    engine = LlamaCppEngine()
    await engine.load(gemma_270m_config(context_length=256, max_concurrent_requests=1, adapters=adapters))
    base, peft, same = [(await ask(engine, adapter=name)).text for name in (None, "peft", "gguf")]
    await engine.close()
    assert peft == same != base


@pytest.mark.parametrize(
    ("settings", "complaint"), [({"use_dora": True}, "DoRA"), ({"lora_alpha": None}, "float")]
)
async def test_peft_folder_without_gguf_form_is_refused_by_name(
    tmp_path: Path, settings: dict[str, object], complaint: str
) -> None:
    gguf = write_lora(tmp_path / "made.gguf", seed=3, strength=0.3)
    folder = write_peft_folder(tmp_path / "peft", gguf, **settings)
    with pytest.raises(ValueError, match=f"adapter 'legal' at .*{complaint}"):
        gguf_of(folder, "gemma3", tmp_path, "legal")


async def test_module_that_llamacpp_cannot_adapt_is_named(tmp_path: Path) -> None:
    (tmp_path / PEFT_CONFIG).write_text(json.dumps({"r": 1, "lora_alpha": 1}))
    name = "base_model.model.lm_head.lora_A.weight"
    (tmp_path / PEFT_WEIGHTS).write_bytes(safetensors({name: ((1, 1), bytes(4))}))
    with pytest.raises(ValueError, match="lm_head"):
        gguf_of(tmp_path, "gemma3", tmp_path, "legal")


async def test_folder_without_adapter_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"adapter 'legal': needs {PEFT_CONFIG}"):
        gguf_of(tmp_path, "gemma3", tmp_path, "legal")
