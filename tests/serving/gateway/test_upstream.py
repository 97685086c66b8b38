"""The gRPC client against a small server that speaks Triton's protocol."""

import asyncio
import json
from contextlib import asynccontextmanager

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gemma_serving.contract import AdapterState, GenerateRequest
from gemma_serving.gateway.upstream import CANCEL_ATTEMPTS, ModelState, TritonUpstream, UpstreamError

EVENTS = [
    {"accepted": {"prompt_tokens": 3}},
    {"delta": {"text": "é", "tokens": 1}},
    {"finished": {"reason": "stop", "prompt_tokens": 3, "completion_tokens": 1}},
]
STATS = {"running": 0, "waiting": 0, "kv_used_tokens": 0, "kv_total_tokens": 1}
STATS |= {"tokens_generated_total": 0, "last_step_unix": 0.0}


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers each request with EVENTS, or with STATS."""

    def __init__(self):
        self.streams = 0
        self.seen = []
        self.cancelled = asyncio.Event()
        self.never_ends = False
        self.is_deaf = False
        self.ended = set()
        self.error = ""

    async def ModelStreamInfer(self, requests, context):  # noqa: N802 - the protocol's name
        self.streams += 1
        try:
            async for request in requests:
                self.seen.append(json.loads(request.raw_input_contents[0][4:]))
                if self.error:
                    yield service_pb2.ModelStreamInferResponse(error_message=self.error)
                    continue
                asked = self.seen[-1]
                if "cancel" in asked:
                    self.ended.add(asked["cancel"])
                for event in events_for(asked):
                    yield answer(json.dumps(event).encode())
                while self.never_ends and "cancel" not in asked and not self.is_over(asked):
                    await asyncio.sleep(0.01)
                last = service_pb2.ModelStreamInferResponse()
                last.infer_response.parameters["triton_final_response"].bool_param = True
                yield last
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def is_over(self, asked):
        return asked.get("id") in self.ended and not self.is_deaf

    async def ModelReady(self, request, context):  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name == "gemma")


def events_for(asked):
    if "cancel" in asked:
        return []
    if asked.keys() == {"adapters"}:
        held = [{"name": name, "path": path} for name, path in asked["adapters"].items()]
        return [{**STATS, "adapters": held}]
    return [STATS] if asked == {"stats": True} else EVENTS


def answer(payload):
    response = service_pb2.ModelStreamInferResponse()
    response.infer_response.raw_output_contents.append(len(payload).to_bytes(4, "little") + payload)
    return response


@asynccontextmanager
async def serving(port=0):
    """A server and its port."""
    servicer, server = Server(), grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield servicer, port
    finally:
        await server.stop(None)


async def texts(upstream, identity="r"):
    return [e.delta.text async for e in upstream.generate(GenerateRequest(identity, prompt="x")) if e.delta]


async def test_a_stream_serves_one_request_after_another():
    async with serving() as (server, port):
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        assert [await texts(upstream, f"r{i}") for i in range(3)] == [["é"]] * 3
        assert (await upstream.stats()).kv_total_tokens == 1
        assert server.streams == 1
        assert await upstream.model_state() is ModelState.READY
        await upstream.close()


async def test_adapters_are_asked_for_and_what_the_engine_has_is_told():
    async with serving() as (_, port):
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        stats = await upstream.adapt({"maths": "/weights/maths"})
        assert stats.adapters == [AdapterState("maths", "/weights/maths")]
        assert (await upstream.stats()).adapters is None
        await upstream.close()


async def test_requests_at_once_have_streams_of_their_own():
    async with serving() as (server, port):
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        assert await asyncio.gather(*(texts(upstream, f"r{i}") for i in range(8))) == [["é"]] * 8
        assert 1 < server.streams <= 8
        await upstream.close()


async def left_early(upstream, identity):
    events = upstream.generate(GenerateRequest(identity, prompt="x"))
    await anext(events)
    await events.aclose()


async def test_a_sequence_that_is_left_is_ended_by_a_message_and_its_stream_used_again():
    async with serving() as (server, port):
        server.never_ends = True
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        await left_early(upstream, "left")
        while upstream._leaving:
            await asyncio.sleep(0.01)
        assert {"cancel": "left"} in server.seen
        server.never_ends = False
        assert await texts(upstream) == ["é"]
        assert server.streams == 2  # the sequence's, and the message's
        assert not server.cancelled.is_set()
        await upstream.close()


async def test_whoever_stops_waiting_for_a_token_cancels_no_stream():
    async with serving() as (server, port):
        server.never_ends = True
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        waiting = asyncio.create_task(texts(upstream, "left"))
        while not server.seen:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        while upstream._leaving:
            await asyncio.sleep(0.01)
        assert not server.cancelled.is_set()
        await upstream.close()


async def test_an_engine_that_does_not_end_a_sequence_loses_its_stream(monkeypatch):
    monkeypatch.setattr("gemma_serving.gateway.upstream.CANCEL_SECONDS", 0.05)
    async with serving() as (server, port):
        server.never_ends = server.is_deaf = True
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        await left_early(upstream, "left")
        await asyncio.wait_for(server.cancelled.wait(), 5)
        assert server.seen.count({"cancel": "left"}) == CANCEL_ATTEMPTS
        server.never_ends = False
        assert await texts(upstream) == ["é"]
        await upstream.close()


async def test_a_restarted_triton_is_found_again_though_old_streams_lie_about():
    upstream = None
    async with serving() as (_, port):
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        await asyncio.gather(*(texts(upstream, f"r{i}") for i in range(4)))
    with pytest.raises(UpstreamError):
        await texts(upstream)
    assert await upstream.model_state() is ModelState.NOT_READY
    async with serving(port) as (server, _):
        deadline = asyncio.get_running_loop().time() + 10
        while await upstream.model_state() is not ModelState.READY:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert await texts(upstream) == ["é"]
        assert server.streams == 1
        await upstream.close()


async def test_an_error_of_triton_is_an_error_here():
    async with serving() as (server, port):
        server.error = "Stub process is not healthy"
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        with pytest.raises(UpstreamError, match="Stub process"):
            await texts(upstream)
        await upstream.close()


async def test_a_silent_engine_is_a_timeout_not_a_refusal(monkeypatch):
    monkeypatch.setattr("gemma_serving.gateway.upstream.STATS_TIMEOUT_SECONDS", 0.1)
    async with serving() as (server, port):
        server.never_ends = True
        upstream = TritonUpstream(f"127.0.0.1:{port}")
        with pytest.raises(TimeoutError):
            await upstream.stats()
        await upstream.close()
