"""From a fine-tune to an endpoint: the folder that PEFT saved, on llama.cpp and on vLLM, unchanged."""

from __future__ import annotations

import subprocess

import pytest

from gemma_serving.engines.llamacpp import LlamaCppEngine
from support.fine_tuned import ANSWER, LORA_RANK, PROMPT, trained_adapter
from support.generating import ask
from support.triton_runtime import gemma_270m_config
from support.vllm_runtime import run_inside

pytestmark = pytest.mark.vllm


async def test_llama_cpp_says_what_the_adapter_was_taught() -> None:
    engine = LlamaCppEngine()
    await engine.load(
        gemma_270m_config(
            context_length=256, adapters={"harbour": str(trained_adapter())}, adapter_rank=LORA_RANK
        )
    )
    try:
        taught, untaught = [
            (await ask(engine, PROMPT, adapter=adapter, max_tokens=12)).text for adapter in ("harbour", None)
        ]
    finally:
        await engine.close()
    assert taught.startswith(ANSWER)
    assert not untaught.startswith(ANSWER)


def test_vllm_says_what_the_adapter_was_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_TRAINED_ADAPTER", str(trained_adapter()))
    done = run_inside(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/serving/vllm/inside_fine_tuning.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:]
