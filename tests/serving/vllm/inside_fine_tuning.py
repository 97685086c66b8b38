"""A trained adapter on real vLLM; run inside its environment by test_fine_tuning.py."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from gemma_serving.engines.vllm import VllmEngine
from support.fine_tuned import ANSWER, LORA_RANK, PROMPT
from support.generating import ask
from support.vllm_runtime import gemma_270m_on_cpu


def failures(engine: VllmEngine) -> dict[str, str | None]:
    return {state.name: state.failure for state in engine.stats().adapters or ()}


async def test_an_adapter_that_comes_later_says_what_it_was_taught_and_the_model_does_not(
    tmp_path: Path,
) -> None:
    harbour = os.environ["GEMMA_TRAINED_ADAPTER"]
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 64}))
    engine = VllmEngine()
    await engine.load(gemma_270m_on_cpu(adapter_slots=1, adapter_rank=LORA_RANK))
    try:
        early = await ask(engine, PROMPT, adapter="harbour")
        beside = asyncio.create_task(ask(engine, PROMPT, max_tokens=48, ignore_eos=True))
        await engine.adapt({"harbour": harbour})
        held = failures(engine)
        taught, untaught = [
            (await ask(engine, PROMPT, adapter=adapter, max_tokens=12)).text for adapter in ("harbour", None)
        ]
        undisturbed = (await beside).finished.completion_tokens
        await engine.adapt({"harbour": harbour, "wide": str(tmp_path), "nowhere": str(tmp_path / "none")})
        full = failures(engine)
        await engine.adapt({"wide": str(tmp_path), "nowhere": str(tmp_path / "none")})
        unfit = failures(engine)
        late = await ask(engine, PROMPT, adapter="harbour")
        await engine.adapt({"again": harbour})
        again = (await ask(engine, PROMPT, adapter="again", max_tokens=12)).text
    finally:
        await engine.close()
    assert early.failed.param == late.failed.param == "adapter"
    assert held == {"harbour": None}
    assert taught.startswith(ANSWER)
    assert again == taught
    assert not untaught.startswith(ANSWER)
    assert undisturbed == 48
    assert full["harbour"] is None
    assert "planned for 1 adapter(s)" in (full["wide"] or "")
    assert "rank 64 and memory is planned for 8" in (unfit["wide"] or "")
    assert "no PEFT folder" in (unfit["nowhere"] or "")
