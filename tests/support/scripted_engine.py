"""An engine double on the real EngineBase: it says what the test lets it say, one token per permit."""

from __future__ import annotations

import asyncio

from gemma_serving.contract import FinishReason, RuntimeConfig
from gemma_serving.engines.generation import Ending, EngineBase, Generation
from gemma_serving.engines.validation import answer_budget


class ScriptedEngine(EngineBase):
    """Prompt tokens are words; tokens are `t0 t1 …`; `steps` holds the permits."""

    def __init__(
        self, *, failing_load: Exception | None = None, failing_step: Exception | None = None
    ) -> None:
        super().__init__()
        self.steps = asyncio.Semaphore(0)
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing_load = failing_load
        self._failing_step = failing_step

    async def load(self, config: RuntimeConfig) -> None:
        """See Engine.load."""
        if self._failing_load is not None:
            raise self._failing_load
        self._loop = asyncio.get_running_loop()
        self._config = config

    async def close(self) -> None:
        """See Engine.close."""
        self._dead = "the engine has been closed"
        self.closed = True
        for generation in list(self._generations.values()):
            generation.cancel()

    def allow(self, tokens: int) -> None:
        """Let so many tokens be generated, over all requests; from any thread."""
        for _ in range(tokens):
            if self._loop is None:
                self.steps.release()
            else:
                self._loop.call_soon_threadsafe(self.steps.release)

    def _kv_tokens(self) -> tuple[int, int]:
        return self._tokens_in_flight(), self.config.context_length * self.config.max_concurrent_requests

    async def _generate(self, generation: Generation) -> Ending:
        budget = answer_budget(
            len((generation.request.prompt or "").split()), generation.request, self.config
        )
        generation.accept(len((generation.request.prompt or "").split()))
        generation.running = True
        stopped = asyncio.create_task(asyncio.Event().wait())
        generation.on_cancel(stopped.cancel)
        for index in range(budget):
            permit = asyncio.create_task(self.steps.acquire())
            await asyncio.wait({permit, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if generation.cancelled:
                permit.cancel()
                return Ending(FinishReason.CANCELLED)
            if self._failing_step is not None:
                raise self._failing_step
            self._stepped(1)
            generation.delta(f"t{index} ", 1)
        stopped.cancel()
        return Ending(FinishReason.LENGTH)
