"""An ASGI response that generates: as a stream of events or as one body, and stops when the client goes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gemma_serving.contract import Delta, GenerateEvent
from gemma_serving.gateway import sse, tracing
from gemma_serving.gateway.access.keys import Consumer
from gemma_serving.gateway.access.limits import Grant
from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.metrics import Metrics
from gemma_serving.gateway.quality import Sample
from gemma_serving.gateway.safety.filters import OutputFilter
from gemma_serving.gateway.sequences import Batch, Job, Run
from gemma_serving.gateway.views import View

log = logging.getLogger(__name__)


class ClientGoneError(Exception):
    """The client closed the connection."""


@asynccontextmanager
async def until_client_goes(receive: Receive) -> AsyncIterator[None]:
    """Cancel the body when the client disconnects; raises ClientGoneError then."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientGoneError from None
    finally:
        watcher.cancel()


@dataclass(slots=True)
class Timing:
    """When tokens came, for the latency histograms."""

    metrics: Metrics
    arrived: float = field(default_factory=time.monotonic)
    _first: dict[int, float] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)

    def tokens(self, index: int, count: int) -> None:
        """`count` more tokens of a sequence are on their way to the client."""
        if index not in self._first:
            now = time.monotonic()
            if not self._first:
                self.metrics.ttft.observe(now - self.arrived)
            self._first[index] = now
            count -= 1  # The first token is the time to first token's.
        self._tokens[index] = self._tokens.get(index, 0) + count

    def finished(self, index: int) -> None:
        """A sequence ended."""
        tokens = self._tokens.get(index, 0)
        if tokens > 0:
            self.metrics.tpot.observe((time.monotonic() - self._first[index]) / tokens)

    @property
    def ttft_seconds(self) -> float | None:
        """Arrival to first token; None while none came."""
        return min(self._first.values()) - self.arrived if self._first else None

    def ended(self, outcome: str) -> float:
        """The request ended; seconds that it took."""
        seconds = time.monotonic() - self.arrived
        self.metrics.duration.observe(seconds)
        self.metrics.request_ended(outcome)
        return seconds


@dataclass(frozen=True, slots=True)
class Order:
    """What one request asks of the engine, and for whom."""

    consumer: Consumer
    jobs: Sequence[Job]
    reserve_tokens: int
    """Estimate of what it will use."""
    choices_per_prompt: int = 1
    stream: bool = False
    output_filter: OutputFilter | None = None
    sample: Sample | None = None
    """Question and reference, where answers are sampled."""


@dataclass(slots=True)
class Spent:
    """Tokens that a request used so far."""

    choices_per_prompt: int
    prompt: int = 0
    completion: int = 0

    def count(self, index: int, event: GenerateEvent) -> None:
        """A prompt counts once however many choices it has."""
        if event.delta is not None:
            self.completion += event.delta.tokens
        elif event.accepted is not None and index % self.choices_per_prompt == 0:
            self.prompt += event.accepted.prompt_tokens


class Answer(Response):
    """Generates while it is being sent."""

    def __init__(self, gateway: Gateway, order: Order, view: View) -> None:
        super().__init__()
        self._engine = gateway.engine
        self._access = gateway.access
        self._record = gateway.record
        self._quality = gateway.quality
        self._order = order
        self._view = view
        self._timing = Timing(gateway.engine.metrics)
        self._spent = Spent(order.choices_per_prompt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Generate and send; ApiError leaves only while no byte was sent."""
        outcome = "failed"
        grant = Grant()
        try:
            async with until_client_goes(receive):
                grant = await self._access.limiter.admit(self._order.consumer, self._order.reserve_tokens)
                work = self._send_events if self._order.stream else self._send_body
                outcome = await work(send, grant.headers)
        except ClientGoneError:
            outcome = "cancelled"
        except ApiError as error:
            outcome = outcome_of(error)
            await error_response(error, grant.headers)(scope, receive, send)
        finally:
            seconds = self._timing.ended(outcome)
            self._record.add(outcome, seconds, self._timing.ttft_seconds, self._spent.completion)
            self._note(outcome, scope["state"]["facts"])
            self._book(outcome)
            if outcome == "success":
                self._offer_sample()
            await grant.settle(self._spent.prompt + self._spent.completion)

    def _note(self, outcome: str, facts: dict[str, Any]) -> None:
        """For the request's span and its line in the log: counts and times, never text or keys."""
        spent, ttft = self._spent, self._timing.ttft_seconds
        facts.update(
            outcome=outcome,
            ttft_seconds=None if ttft is None else round(ttft, 4),
            prompt_tokens=spent.prompt,
            completion_tokens=spent.completion,
        )
        tracing.note_answer(outcome, self._order.jobs[0].request.id, spent.prompt, spent.completion)

    def _book(self, outcome: str) -> None:
        totals = self._access.usage.of(self._order.consumer.name)
        totals.requests += 1
        totals.rejected += outcome == "rejected"
        totals.prompt_tokens += self._spent.prompt
        totals.completion_tokens += self._spent.completion

    def _offer_sample(self) -> None:
        """After the answer is out: scoring must not be in its way."""
        if self._quality is not None and self._order.sample is not None:
            for text in self._view.texts():
                self._quality.offer(dataclasses.replace(self._order.sample, answer=text))

    def _run(self) -> Run:
        return Run(self._engine, self._order.consumer.name, self._order.jobs)

    async def _send_body(self, send: Send, headers: Mapping[str, str]) -> str:
        async with self._run() as run:
            async for batch in run.batches(sse.KEEP_ALIVE_SECONDS):
                _, error = self._word(await self._filtered(batch))
                if error is not None:
                    raise error
        await send_json(send, self._view.body(), headers)
        return "success"

    async def _send_events(self, send: Send, headers: Mapping[str, str]) -> str:
        started = False
        try:
            async with self._run() as run:
                async for batch in run.batches(sse.KEEP_ALIVE_SECONDS):
                    chunk, error = self._word(await self._filtered(batch))
                    if not started and batch and error is None:
                        await send(
                            {
                                "type": "http.response.start",
                                "status": 200,
                                "headers": _raw(sse.HEADERS, headers),
                            }
                        )
                        chunk = self._view.first() + chunk
                        started = True
                    if started and (chunk or not batch):
                        await send(
                            {"type": "http.response.body", "body": chunk or sse.KEEP_ALIVE, "more_body": True}
                        )
                    if error is not None:
                        raise error
            last, outcome = self._view.last(), "success"
        except ApiError as error:
            if not started:
                raise
            last, outcome = sse.event(error.body()), outcome_of(error)
        except Exception:
            if not started:
                raise
            log.exception("an answer broke off")
            last, outcome = (
                sse.event(ApiError(500, "Internal error.", "server_error", "internal_error").body()),
                "failed",
            )
        await send({"type": "http.response.body", "body": last + sse.DONE, "more_body": False})
        return outcome

    async def _filtered(self, batch: Batch) -> Batch:
        """The batch as far as the safety filter lets it out, up to the first refusal."""
        output_filter = self._order.output_filter
        if output_filter is None:
            return batch
        passed: Batch = []
        for index, item in merged(batch):
            try:
                if isinstance(item, ApiError) or item.accepted is not None:
                    passed.append((index, item))
                    continue
                ends = item.delta is None
                held = await (
                    output_filter.finish(index) if ends else output_filter.feed(index, item.delta or _NOTHING)
                )
            except ApiError as error:
                return [*passed, (index, error)]
            passed += [(index, GenerateEvent(delta=held))] if held is not None else []
            passed += [(index, item)] if ends else []
        return passed

    def _word(self, batch: Batch) -> tuple[bytes, ApiError | None]:
        """Events of a batch in the endpoint's words, up to the first error in it."""
        chunks: list[bytes] = []
        for index, item in merged(batch):
            if isinstance(item, ApiError):
                return b"".join(chunks), item
            self._spent.count(index, item)
            if item.delta is not None:
                chunks.append(self._view.delta(index, item.delta))
                self._timing.tokens(index, item.delta.tokens)
            elif item.finished is not None:
                chunks.append(self._view.finished(index, item.finished))
                self._timing.finished(index)
        return b"".join(chunks), None


_NOTHING = Delta("", 0)


def _raw(*headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for group in headers for name, value in group.items()]


async def send_json(send: Send, payload: dict[str, Any], headers: Mapping[str, str]) -> None:
    """A whole JSON response."""
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    own = {"content-type": "application/json", "content-length": str(len(body))}
    await send({"type": "http.response.start", "status": 200, "headers": _raw(own, headers)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def merged(batch: Batch) -> Batch:
    """Neighbouring deltas of one sequence as one."""
    if len(batch) < 2:
        return batch
    result: Batch = []
    run: list[Delta] = []
    of = -1
    for index, item in batch:
        delta = None if isinstance(item, ApiError) else item.delta
        if run and (delta is None or index != of):
            result.append((of, _joined(run)))
            run = []
        if delta is None:
            result.append((index, item))
        else:
            of = index
            run.append(delta)
    if run:
        result.append((of, _joined(run)))
    return result


def _joined(deltas: list[Delta]) -> GenerateEvent:
    if len(deltas) == 1:
        return GenerateEvent(delta=deltas[0])
    logprobs = [item for delta in deltas for item in delta.logprobs or ()]
    text = "".join(delta.text for delta in deltas)
    return GenerateEvent(delta=Delta(text, sum(delta.tokens for delta in deltas), logprobs or None))


def outcome_of(error: ApiError) -> str:
    """How a refusal or failure is counted."""
    if error.status in (401, 403, 429, 503):
        return "rejected"
    return "invalid" if error.status < 500 else "failed"


def json_response(
    payload: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A compact JSON response."""
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    return Response(text.encode(), status, headers, "application/json")


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """The OpenAI error object with its status and headers."""
    return json_response(error.body(), error.status, {**(headers or {}), **error.response_headers()})
