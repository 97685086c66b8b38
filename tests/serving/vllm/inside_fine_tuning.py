"""A trained adapter on real vLLM; run inside its environment by test_fine_tuning.py."""

from __future__ import annotations

import os

from gemma_serving.engines.vllm import VllmEngine
from support.fine_tuned import ANSWER, LORA_RANK, PROMPT
from support.generating import ask
from support.vllm_runtime import gemma_270m_on_cpu


async def test_the_adapter_says_what_it_was_taught_and_the_model_does_not() -> None:
    engine = VllmEngine()
    adapters = {"harbour": os.environ["GEMMA_TRAINED_ADAPTER"]}
    await engine.load(gemma_270m_on_cpu(adapters=adapters, adapter_rank=LORA_RANK))
    try:
        taught, untaught = [
            (await ask(engine, PROMPT, adapter=adapter, max_tokens=12)).text for adapter in ("harbour", None)
        ]
    finally:
        await engine.close()
    assert taught.startswith(ANSWER)
    assert not untaught.startswith(ANSWER)
