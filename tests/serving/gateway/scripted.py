"""An engine that says what it is told: deterministic deltas, cut anywhere, with delays and failures on
demand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gemma_serving.contract import (
    Accepted,
    AdapterState,
    Delta,
    EngineStats,
    Failed,
    Finished,
    FinishReason,
    GenerateEvent,
    GenerateRequest,
    TokenLogprob,
    TopLogprob,
)
from gemma_serving.gateway.upstream import ModelState, UpstreamError


@dataclass(frozen=True, slots=True)
class Script:
    """What one sequence says."""

    pieces: Sequence[str] = ("Hello", " world")
    prompt_tokens: int = 7
    reason: str = FinishReason.STOP
    delay_seconds: float = 0.0
    """Between pieces."""
    first_delay_seconds: float = 0.0
    fail_after: int | None = None
    """Break off with an engine error after so many pieces."""
    failed: Failed | None = None
    """Refuse the request."""


@dataclass
class ScriptedUpstream:
    """Stands in for Triton at the process border."""

    script: Callable[[GenerateRequest], Script] = field(default=lambda _: Script())
    slots: int | None = None
    """Sequences made at once, as a real engine's; None: no limit."""
    state: ModelState = ModelState.READY
    stats_error: str | None = None
    requests: list[GenerateRequest] = field(default_factory=list)
    media: list[tuple[bytes, ...]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0
    tokens: int = 0
    adapters: dict[str, AdapterState] | None = None
    """What the engine holds; None: it does not say."""
    refused_adapters: dict[str, str] = field(default_factory=dict)
    """Why an adapter cannot be loaded, by name."""
    adapted: list[dict[str, str]] = field(default_factory=list)
    """What the engine was asked to hold, each time."""
    last_step: float = 0.0

    async def generate(
        self, request: GenerateRequest, media: Sequence[bytes] = ()
    ) -> AsyncGenerator[GenerateEvent, None]:
        """Events of the request's script."""
        if request.id != "canary":
            self.requests.append(request)
            self.media.append(tuple(media))
        script = self.script(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        ended = False
        try:
            async for event in self._events(request, script):
                ended = event.finished is not None or event.failed is not None
                yield event
        finally:
            self.running -= 1
            self.cancelled += not ended

    async def _events(self, request: GenerateRequest, script: Script) -> AsyncGenerator[GenerateEvent, None]:
        if script.failed is not None:
            yield GenerateEvent(failed=script.failed)
            return
        token_ids = list(range(script.prompt_tokens)) if request.wants_token_ids else None
        yield GenerateEvent(accepted=Accepted(script.prompt_tokens, token_ids))
        await asyncio.sleep(script.first_delay_seconds)
        said = 0
        for piece in script.pieces[: request.max_tokens]:
            if said == script.fail_after:
                raise UpstreamError("scripted failure")
            said += 1
            self.tokens += 1
            self.last_step = time.time()
            logprobs = None if request.logprobs is None else [_logprob(piece, request.logprobs)]
            yield GenerateEvent(delta=Delta(piece, 1, logprobs))
            await asyncio.sleep(script.delay_seconds)
        cut = len(script.pieces) > request.max_tokens
        reason = FinishReason.LENGTH if cut else script.reason
        yield GenerateEvent(finished=Finished(reason, script.prompt_tokens, said))

    async def stats(self) -> EngineStats:
        """The engine's books."""
        if self.stats_error is not None:
            raise UpstreamError(self.stats_error)
        held = None if self.adapters is None else list(self.adapters.values())
        return EngineStats(self.running, 0, 0, 4096, self.tokens, self.last_step, held)

    async def adapt(self, adapters: Mapping[str, str]) -> EngineStats:
        """Hold them, but for those that are refused."""
        self.adapted.append(dict(adapters))
        self.adapters = {
            name: AdapterState(name, path, self.refused_adapters.get(name)) for name, path in adapters.items()
        }
        return await self.stats()

    async def model_state(self) -> ModelState:
        """As it was set."""
        return self.state

    async def close(self) -> None:
        """Nothing is held."""


def _logprob(token: str, count: int) -> TokenLogprob:
    top = [TopLogprob(token, -0.1), *(TopLogprob(f"alt{i}", -1.0 - i) for i in range(1, count))]
    return TokenLogprob(token, -0.1, top[:count])
