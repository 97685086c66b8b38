"""One request on its way through an engine, and the books over all of them.

The event grammar of the contract is kept here, once for every engine: an engine only says `accept`, `delta`
and how it ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gemma_serving.contract import (
    Accepted,
    AdapterState,
    Delta,
    EngineStats,
    FailureCode,
    Finished,
    FinishReason,
    GenerateEvent,
    GenerateRequest,
    RuntimeConfig,
    TokenLogprob,
)
from gemma_serving.engines.protocol import EngineFailureError
from gemma_serving.engines.validation import validate

COALESCE_SECONDS: Final = 0.02
"""Deltas of one stream are at least this far apart; the contract's limit on how late a token may be."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the engine ended a sequence that was not cancelled."""

    reason: FinishReason
    cached_tokens: int = 0


class Generation:
    """One running request: what the engine tells, turned into events. Used on the engine's loop only."""

    def __init__(self, request: GenerateRequest, media: Sequence[bytes]) -> None:
        self.request = request
        self.media = media
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.running = False
        """The engine works on it; before that it waits for a slot."""
        self.cancelled = False
        self._cancel_callbacks: list[Callable[[], object]] = []
        self._deltas: list[Delta] = []
        self._others: list[GenerateEvent] = []
        self._closed = False
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._last_delta_at = float("-inf")

    def accept(self, prompt_tokens: int, token_ids: Sequence[int] | None = None) -> None:
        """Say that the engine took the request, and by which ids where the request wants them."""
        self.prompt_tokens = prompt_tokens
        told = list(token_ids) if token_ids is not None and self.request.wants_token_ids else None
        self._push(GenerateEvent(accepted=Accepted(prompt_tokens, told)))

    def delta(self, text: str, tokens: int, logprobs: list[TokenLogprob] | None = None) -> None:
        """Add generated text (whole characters) of so many tokens."""
        self.completion_tokens += tokens
        if text or tokens or logprobs:
            self._deltas.append(Delta(text=text, tokens=tokens, logprobs=logprobs))
            self._something.set()

    def finish(self, event: GenerateEvent) -> None:
        """End the stream with this event."""
        self._push(event)
        self._closed = True

    def cancel(self) -> None:
        """Ask the engine to stop; runs the callbacks of `on_cancel` once."""
        self.cancelled = True
        callbacks, self._cancel_callbacks = self._cancel_callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Call back on `cancel`, or at once if that has happened."""
        if self.cancelled:
            callback()
        else:
            self._cancel_callbacks.append(callback)

    def _push(self, event: GenerateEvent) -> None:
        self._others.append(event)
        self._something.set()
        self._urgent.set()

    async def events(self) -> AsyncIterator[GenerateEvent]:
        """Yield the events in order, deltas coalesced over COALESCE_SECONDS."""
        loop = asyncio.get_running_loop()
        while True:
            await self._something.wait()
            wait = self._last_delta_at + COALESCE_SECONDS - loop.time()
            if wait > 0 and not self._urgent.is_set():
                await self._urgent_within(wait)
            self._something.clear()
            self._urgent.clear()
            others, self._others = self._others, []
            deltas, self._deltas = self._deltas, []
            # Nothing but `accepted` comes before a delta, nothing but the ending after it.
            while others and others[0].accepted is not None:
                yield others.pop(0)
            if deltas:
                self._last_delta_at = loop.time()
                yield GenerateEvent(delta=merged(deltas))
            for event in others:
                yield event
            if self._closed and not (self._others or self._deltas):
                return

    async def _urgent_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
        except TimeoutError:
            pass


def merged(deltas: Sequence[Delta]) -> Delta:
    """Return one delta with the text, tokens and log probabilities of all."""
    if len(deltas) == 1:
        return deltas[0]
    logprobs = [entry for delta in deltas for entry in delta.logprobs or ()]
    return Delta(
        text="".join(delta.text for delta in deltas),
        tokens=sum(delta.tokens for delta in deltas),
        logprobs=logprobs or None,
    )


class EngineBase(ABC):
    """The part of an engine that does not depend on the library: event grammar, books, cancellation."""

    def __init__(self) -> None:
        self._config: RuntimeConfig | None = None
        self._generations: dict[str, Generation] = {}
        self._tokens_generated_total = 0
        self._last_step_unix = 0.0
        self._dead: str | None = None
        self._held_adapters: dict[str, str] = {}
        """Loaded: name to path, as it was asked for."""
        self._failed_adapters: dict[str, AdapterState] = {}

    @property
    def config(self) -> RuntimeConfig:
        """Return the configuration; RuntimeError before `load`."""
        if self._config is None:
            raise RuntimeError("the engine is not loaded")
        return self._config

    @abstractmethod
    async def load(self, config: RuntimeConfig) -> None:
        """See Engine.load."""

    @abstractmethod
    async def close(self) -> None:
        """See Engine.close."""

    @abstractmethod
    async def _generate(self, generation: Generation) -> Ending:
        """Run one valid request to its end, telling `generation`; return soon after its `cancel`."""

    @abstractmethod
    def _kv_tokens(self) -> tuple[int, int]:
        """Return used and total tokens of the KV cache."""

    async def submit(
        self, request: GenerateRequest, media: Sequence[bytes] = ()
    ) -> AsyncGenerator[GenerateEvent, None]:
        """See Engine.submit."""
        try:
            generation = self._admit(request, media)
        except EngineFailureError as failure:
            yield failure.event()
            return
        worker = asyncio.create_task(self._run(generation))
        try:
            async for event in generation.events():
                yield event
        finally:
            generation.cancel()
            await asyncio.shield(worker)

    def _admit(self, request: GenerateRequest, media: Sequence[bytes]) -> Generation:
        death = self._death()
        if death is not None or self._config is None:
            raise EngineFailureError(FailureCode.ENGINE_ERROR, death or "the engine is not loaded")
        validate(request, media, self._config)
        if request.id in self._generations:
            raise EngineFailureError(
                FailureCode.INVALID_REQUEST, f"a request with id {request.id!r} is running", "id"
            )
        generation = Generation(request, media)
        self._generations[request.id] = generation
        return generation

    async def _run(self, generation: Generation) -> None:
        try:
            ending = await self._generate(generation)
            event = self._finished(generation, ending)
        except EngineFailureError as failure:
            event = failure.event()
        except Exception as error:  # whatever a library throws: the client must hear of it, and must not hang
            _log.exception("request %s failed in the engine", generation.request.id)
            message = f"the engine failed: {type(error).__name__}: {error}"
            event = EngineFailureError(FailureCode.ENGINE_ERROR, message).event()
        finally:
            self._generations.pop(generation.request.id, None)
        generation.finish(event)

    @staticmethod
    def _finished(generation: Generation, ending: Ending) -> GenerateEvent:
        reason = FinishReason.CANCELLED if generation.cancelled else ending.reason
        return GenerateEvent(
            finished=Finished(
                reason=reason.value,
                prompt_tokens=generation.prompt_tokens,
                completion_tokens=generation.completion_tokens,
                cached_tokens=ending.cached_tokens,
            )
        )

    async def cancel(self, request_id: str) -> None:
        """See Engine.cancel."""
        generation = self._generations.get(request_id)
        if generation is not None:
            generation.cancel()

    async def adapt(self, adapters: Mapping[str, str]) -> None:
        """See Engine.adapt. As it is here, for libraries that take adapters at start only."""
        others = {name: path for name, path in adapters.items() if self._held_adapters.get(name) != path}
        self._failed_adapters = {
            name: AdapterState(name, path, "this engine loads adapters at start only: new pods will have it")
            for name, path in others.items()
        }

    def stats(self) -> EngineStats:
        """See Engine.stats."""
        death = self._death()
        if death is not None:
            raise RuntimeError(death)
        waiting = self._waiting()
        used, total = self._kv_tokens()
        return EngineStats(
            running=len(self._generations) - waiting,
            waiting=waiting,
            kv_used_tokens=used,
            kv_total_tokens=total,
            tokens_generated_total=self._tokens_generated_total,
            last_step_unix=self._last_step_unix,
            adapters=self._adapter_states(),
        )

    def _adapter_states(self) -> list[AdapterState]:
        held = {name: AdapterState(name, path) for name, path in self._held_adapters.items()}
        return [state for _, state in sorted({**held, **self._failed_adapters}.items())]

    def _death(self) -> str | None:
        """Return why the engine cannot serve any more, None while it can."""
        return self._dead

    def _waiting(self) -> int:
        return sum(not generation.running for generation in self._generations.values())

    def _stepped(self, tokens: int) -> None:
        """Note that the engine made progress and generated so many tokens."""
        self._tokens_generated_total += tokens
        self._last_step_unix = time.time()

    def _tokens_in_flight(self) -> int:
        return sum(g.prompt_tokens + g.completion_tokens for g in self._generations.values() if g.running)
