"""Spans of each request, in W3C trace context: the request, and below it queue, prefill, decode per sequence.

Off by default: then a caller's trace context is still handed on to the engine and named in the logs, and
nothing is recorded. Spans hold names, counts and times, never text or keys.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from gemma_serving.contract import RuntimeConfig

QUEUE, PREFILL, DECODE = "queue", "prefill", "decode"
"""Stages of a sequence: waiting for a slot; from the slot to the first token; from there to the end."""
EXPORT_TIMEOUT_SECONDS = 5
"""Of one batch; a collector that is away costs spans, never requests."""
_TRACE_HEADERS = (b"traceparent", b"tracestate")
_propagator = TraceContextTextMapPropagator()


class Stages:
    """Consecutive spans below the current one, as a context: leaving it ends the last."""

    def __init__(self, tracer: Tracer, first: str) -> None:
        self._tracer = tracer
        self._name = first
        self._span = tracer.start_span(first)

    def move(self, name: str) -> None:
        """End the stage and begin the next; nothing when it is the stage already."""
        if name != self._name:
            self._span.end()
            self._name = name
            self._span = self._tracer.start_span(name)

    def __enter__(self) -> Self:
        """The first stage has begun."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        """End the stage; a failure is named by its type only, since messages may hold the caller's text."""
        if kind is not None and not issubclass(kind, asyncio.CancelledError):
            self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
        self._span.end()


class Tracing:
    """Where the spans of one gateway come from and go to."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._provider = _provider(config)
        name = "gemma_serving.gateway"
        self._tracer = NoOpTracer() if self._provider is None else self._provider.get_tracer(name)

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Span]:
        """The span around one HTTP request, a child of the caller's where it sent a trace context."""
        carrier = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _TRACE_HEADERS}
        method = scope["method"]
        span = self._tracer.start_span(
            method, _propagator.extract(carrier), SpanKind.SERVER, {"http.request.method": method}
        )
        # A tracer that records nothing would not make the caller's context current by itself.
        with trace.use_span(span, end_on_exit=True, record_exception=False):
            yield span

    def stages(self) -> Stages:
        """The stages of one sequence, which begins by waiting."""
        return Stages(self._tracer, QUEUE)

    async def close(self) -> None:
        """Export what is left."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.shutdown)


def trace_context() -> dict[str, str] | None:
    """The current span as W3C headers, for the engine; None outside any trace."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier or None


def name_request(span: Span, scope: Scope, status: int) -> None:
    """What is known of a request once it is answered, in OpenTelemetry's words for HTTP."""
    route = route_of(scope)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def note_answer(outcome: str, identity: str, prompt_tokens: int, completion_tokens: int) -> None:
    """What an answer came to, in OpenTelemetry's words for generative AI, on the request's span."""
    span = trace.get_current_span()
    span.set_attributes(
        {
            "gen_ai.response.id": identity,
            "gen_ai.usage.input_tokens": prompt_tokens,
            "gen_ai.usage.output_tokens": completion_tokens,
            "gemma.outcome": outcome,
        }
    )
    # An answer may break off after its status was sent.
    if outcome == "failed":
        span.set_status(Status(StatusCode.ERROR, outcome))


def route_of(scope: Scope) -> str | None:
    """The route that answered, without what the caller filled in; None where none did."""
    if "endpoint" not in scope:
        return None
    return "/v1/models/{model}" if scope.get("path_params") else str(scope["path"])


def _provider(config: RuntimeConfig) -> TracerProvider | None:
    if config.tracing is None:
        return None
    resource = Resource.create(
        {
            "service.name": config.model,
            "service.namespace": "gemma",
            # The pod's name.
            "service.instance.id": os.environ.get("HOSTNAME", ""),
            "gemma.variant": config.variant,
            "gemma.engine": config.engine,
        }
    )
    sampler = ParentBased(TraceIdRatioBased(config.tracing.sample_percent / 100))
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
    # Only http:// is without TLS; the exporter takes that from the URL's scheme.
    exporter = OTLPSpanExporter(config.tracing.endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
