"""Spans as a collector receives them over OTLP, the context that the engine gets, and log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import GenerateRequest, RuntimeConfig, TracingConfig
from gemma_serving.gateway import logs
from serving import config, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
SECRET = "the caller's own words"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """What an OpenTelemetry collector does with spans, as far as receiving them."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name for it
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> dict[str, Span]:
        """By name."""
        scopes = [s for r in self.requests for group in r.resource_spans for s in group.scope_spans]
        return {span.name: span for scope in scopes for span in scope.spans}

    def resource(self) -> dict[str, str]:
        return attributes(self.requests[0].resource_spans[0].resource)


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def upstream() -> ScriptedUpstream:
    return ScriptedUpstream(lambda _: Script(["one ", "two ", "three"]))


def ask(engine: ScriptedUpstream, settings: RuntimeConfig, headers: dict[str, str], **more: Any) -> int:
    """One completion; returns its status once everything was exported."""
    body = {"model": "assistant", "prompt": SECRET, **more}
    with running(engine, settings) as gateway, httpx.Client(trust_env=False) as client:
        return client.post(f"{gateway.url}/v1/completions", json=body, headers=headers).status_code


def traced(headers: dict[str, str], sample_percent: float = 100, **more: Any) -> Collector:
    with collecting() as (collector, url):
        ask(upstream(), config(tracing=TracingConfig(url, sample_percent)), headers, **more)
        return collector


def test_a_request_is_a_child_of_the_callers_span_and_its_stages_are_its_children() -> None:
    spans = traced(SAMPLED).spans()
    assert spans.keys() == {"POST /v1/completions", "queue", "prefill", "decode"}
    request = spans.pop("POST /v1/completions")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
    assert {(span.trace_id.hex(), span.parent_span_id) for span in spans.values()} == {
        (TRACE, request.span_id)
    }


def test_stages_follow_one_another_within_the_request() -> None:
    spans = traced(SAMPLED).spans()
    request, stages = spans["POST /v1/completions"], [spans[n] for n in ("queue", "prefill", "decode")]
    times = [moment for span in stages for moment in (span.start_time_unix_nano, span.end_time_unix_nano)]
    assert times == sorted(times)
    assert request.start_time_unix_nano <= times[0]
    assert times[-1] <= request.end_time_unix_nano


def test_a_request_says_what_it_came_to_and_nothing_of_its_text() -> None:
    collector = traced(SAMPLED)
    said = attributes(collector.spans()["POST /v1/completions"])
    assert said["http.response.status_code"] == 200
    assert said["http.route"] == "/v1/completions"
    assert said["gemma.outcome"] == "success"
    assert said["gen_ai.usage.output_tokens"] == 3
    assert collector.resource()["service.name"] == "assistant"
    assert SECRET not in str(collector.requests)


def test_a_refused_request_has_a_span_without_stages() -> None:
    spans = traced(SAMPLED, max_tokens=-1).spans()
    assert spans.keys() == {"POST /v1/completions"}
    assert attributes(spans["POST /v1/completions"])["http.response.status_code"] == 400


@pytest.mark.parametrize(("headers", "sample_percent"), [(UNSAMPLED, 100), ({}, 0)])
def test_what_is_not_sampled_is_not_exported(headers: dict[str, str], sample_percent: float) -> None:
    assert traced(headers, sample_percent).spans() == {}


def test_the_caller_decides_on_sampling_where_it_sent_a_context() -> None:
    assert "decode" in traced(SAMPLED, sample_percent=0).spans()


def test_the_engine_gets_the_context_of_the_requests_span() -> None:
    engine = upstream()
    with collecting() as (collector, url):
        ask(engine, config(tracing=TracingConfig(url)), SAMPLED)
    request = collector.spans()["POST /v1/completions"]
    [asked] = engine.requests
    assert asked.trace_context == {
        "traceparent": f"00-{TRACE}-{request.span_id.hex()}-01",
        "tracestate": "vendor=1",
    }


def test_without_tracing_the_callers_context_is_handed_on_as_it_came() -> None:
    engine = upstream()
    assert ask(engine, config(), SAMPLED) == 200
    assert engine.requests[0].trace_context == SAMPLED


@pytest.mark.parametrize("value", ["", "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 4096])
def test_a_context_that_is_none_is_ignored(value: str) -> None:
    engine = upstream()
    assert ask(engine, config(), {"traceparent": value}) == 200
    assert engine.requests[0].trace_context is None


def test_a_collector_that_is_away_costs_no_request() -> None:
    assert ask(upstream(), config(tracing=TracingConfig("http://127.0.0.1:1")), {}) == 200


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged inside, as the JSON lines that the gateway would write."""
    stream, lines = io.StringIO(), []
    handler = logging.StreamHandler(stream)
    handler.addFilter(logs.Correlation())
    handler.setFormatter(logs.formatter("json"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        lines += [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line_with_its_ids_and_counts_and_no_text() -> None:
    with logged() as lines:
        ask(upstream(), config(), {**SAMPLED, "x-request-id": "mine"})
    [line] = [line for line in lines if line["logger"] == "gemma_serving.gateway.app"]
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE)
    assert (line["status"], line["outcome"], line["completion_tokens"]) == (200, "success", 3)
    assert line["severity"] == "INFO"
    assert SECRET not in str(lines)


def test_a_defect_is_one_line_with_its_trace_back_and_its_ids() -> None:
    def broken(request: GenerateRequest) -> Script:
        if request.id != "canary":
            raise ZeroDivisionError
        return Script()

    with logged() as lines:
        assert ask(ScriptedUpstream(broken), config(), {**SAMPLED, "x-request-id": "mine"}) == 500
    [line] = [line for line in lines if line["severity"] == "ERROR"]
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE)
    assert "ZeroDivisionError" in line["exception"]


def test_lines_without_a_request_have_no_ids() -> None:
    with logged() as lines:
        logging.getLogger("gemma_serving.gateway.server").info("serving")
    assert lines[0].keys() == {"time", "severity", "logger", "message"}
