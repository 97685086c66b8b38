"""The sequences of one HTTP request: admitted one by one, generated side by side, read as one stream of
events.

Events that arrived while the reader was busy come in one batch, so a loaded gateway writes fewer and larger
chunks instead of falling behind.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gemma_serving.contract import FinishReason, GenerateEvent, GenerateRequest
from gemma_serving.gateway import errors
from gemma_serving.gateway.admission import Admission, Evicted, QueueFullError, Ticket, leave_all
from gemma_serving.gateway.drain import Drain
from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.health import EngineHealth
from gemma_serving.gateway.metrics import Metrics
from gemma_serving.gateway.tracing import DECODE, PREFILL, Stages, Tracing, trace_context
from gemma_serving.gateway.upstream import Upstream, UpstreamError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """What generating needs, shared by all requests."""

    upstream: Upstream
    admission: Admission
    health: EngineHealth
    metrics: Metrics
    drain: Drain
    tracing: Tracing
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """One sequence to generate."""

    request: GenerateRequest
    media: tuple[bytes, ...] = ()


Item = GenerateEvent | ApiError
Batch = list[tuple[int, Item]]


@dataclass(slots=True)
class Mailbox:
    """Events on their way from many sequences to one reader."""

    items: Batch = field(default_factory=list)
    _reader: asyncio.Future[None] | None = None

    def put(self, index: int, item: Item) -> None:
        """Add, and wake the reader."""
        self.items.append((index, item))
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def take(self, patience: float) -> Batch:
        """All that is there, waiting up to `patience` seconds for the first; empty when none came."""
        if not self.items:
            loop = asyncio.get_running_loop()
            self._reader = reader = loop.create_future()
            timer = loop.call_later(patience, _wake, reader)
            try:
                await reader
            finally:
                timer.cancel()
                self._reader = None
        items, self.items = self.items, []
        return items


def _wake(reader: asyncio.Future[None]) -> None:
    if not reader.done():
        reader.set_result(None)


class Run:
    """One request's sequences, as a context: leaving it cancels what still runs and frees every slot."""

    def __init__(self, engine: Engine, key: str, jobs: Sequence[Job]) -> None:
        self._engine = engine
        self._key = key
        self._jobs = jobs
        self._mailbox = Mailbox()
        self._tickets: list[Ticket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._open = len(jobs)
        self._stack = AsyncExitStack()
        self._deadline = asyncio.get_running_loop().time() + engine.timeout_seconds

    async def __aenter__(self) -> Self:
        """Take places; raises ApiError 429 when there are none."""
        admission = self._engine.admission
        try:
            self._tickets = admission.enter(self._key, len(self._jobs))
        except QueueFullError:
            self._engine.metrics.rejected("queue_full")
            raise errors.queue_full(admission.retry_after_seconds()) from None
        self._stack.enter_context(self._engine.drain.cuttable(self))
        pairs = zip(self._jobs, self._tickets, strict=True)
        self._tasks = [
            asyncio.create_task(self._pump(i, job, ticket)) for i, (job, ticket) in enumerate(pairs)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what still runs."""
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            leave_all(self._engine.admission, self._tickets)
            await self._stack.aclose()

    def cut(self, error: ApiError) -> None:
        """End every sequence with `error`."""
        self._mailbox.put(0, error)

    async def batches(self, patience: float) -> AsyncIterator[Batch]:
        """Events in batches until every sequence ended; an empty batch after `patience` seconds of
        silence.
        """
        while self._open:
            batch = await self._mailbox.take(patience)
            self._open -= sum(_is_last(item) for _, item in batch)
            yield batch

    async def _pump(self, index: int, job: Job, ticket: Ticket) -> None:
        try:
            with self._engine.tracing.stages() as stages:
                last = await self._generate(index, job, ticket, stages)
            self._mailbox.put(index, last)
        except TimeoutError:
            self._mailbox.put(index, self._late(ticket))
        except Evicted:
            self._engine.metrics.rejected("evicted")
            self._mailbox.put(index, errors.queue_full(self._engine.admission.retry_after_seconds()))
        except UpstreamError as error:
            self._mailbox.put(index, errors.engine_unavailable(str(error)))
        except Exception:
            log.exception("a sequence broke off")
            self._mailbox.put(index, ApiError(500, "Internal error.", "server_error", "internal_error"))
        finally:
            self._engine.admission.leave(ticket)

    async def _generate(self, index: int, job: Job, ticket: Ticket, stages: Stages) -> Item:
        """Put all events but the last, which is returned once the slot may be given back."""
        engine = self._engine
        request = dataclasses.replace(job.request, trace_context=trace_context())
        async with asyncio.timeout_at(self._deadline):
            await ticket.ready
            stages.move(PREFILL)
            engine.metrics.queue.observe(time.monotonic() - ticket.enqueued_at)
            async with aclosing(engine.upstream.generate(request, job.media)) as events:
                async for event in events:
                    engine.health.last_proof = time.monotonic()
                    if _is_last(event):
                        self._count(event)
                        return self._last(event)
                    if event.delta is not None:
                        stages.move(DECODE)
                        engine.metrics.generation_tokens.inc(event.delta.tokens)
                    self._mailbox.put(index, event)
        return errors.engine_unavailable("it ended the answer without a result")

    def _count(self, event: GenerateEvent) -> None:
        if event.finished is not None:
            self._engine.metrics.prompt_tokens.inc(event.finished.prompt_tokens)
            self._engine.metrics.cached_tokens.inc(event.finished.cached_tokens)

    def _last(self, event: GenerateEvent) -> Item:
        if event.failed is not None:
            return errors.from_failure(event.failed)
        if event.finished is not None and event.finished.reason == FinishReason.CANCELLED:
            return errors.engine_unavailable("it cancelled the answer")
        return event

    def _late(self, ticket: Ticket) -> ApiError:
        seconds = self._engine.timeout_seconds
        if ticket.admitted_at is None:
            self._engine.metrics.rejected("deadline")
            return errors.waited_too_long(seconds, self._engine.admission.retry_after_seconds())
        return errors.took_too_long(seconds)


def _is_last(item: Item) -> bool:
    return isinstance(item, ApiError) or item.finished is not None or item.failed is not None
