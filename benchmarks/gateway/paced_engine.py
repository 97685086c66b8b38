"""An engine that speaks at a set pace; takes the place of llama.cpp's inside a real Triton.

PACE_SECONDS between bursts of BURST tokens, `tok ` each. Coalescing is the real EngineBase's.
"""

import asyncio
import os

from gemma_serving.contract import FinishReason, RuntimeConfig
from gemma_serving.engines.generation import Ending, EngineBase, Generation

PACE_SECONDS = float(os.environ["PACE_SECONDS"])
BURST = int(os.environ["BURST"])
PROMPT_TOKENS = 8


class LlamaCppEngine(EngineBase):
    """Says `tok ` until the request's max_tokens."""

    async def load(self, config: RuntimeConfig) -> None:
        """Nothing to load."""
        self._config = config

    async def close(self) -> None:
        """Nothing to close."""

    def _kv_tokens(self) -> tuple[int, int]:
        return self._tokens_in_flight(), self.config.context_length

    async def _generate(self, generation: Generation) -> Ending:
        generation.accept(PROMPT_TOKENS)
        generation.running = True
        said = 0
        while said < generation.request.max_tokens:
            if generation.cancelled:
                return Ending(FinishReason.CANCELLED)
            count = min(BURST, generation.request.max_tokens - said)
            said += count
            self._stepped(count)
            generation.delta("".join(f"tok {n} " for n in range(said - count, said)), count)
            await asyncio.sleep(PACE_SECONDS)
        return Ending(FinishReason.LENGTH)
