"""What a stream looks like on the wire, and what stops it."""

import asyncio
import json
import socket
import time
from contextlib import contextmanager

import httpx
import openai
import pytest
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import Failed, FailureCode
from gemma_serving.gateway import sse
from gemma_serving.gateway.drain import Phase
from serving import config, events_of, running

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = {"model": "assistant", "messages": MESSAGES}
EMOJI = "👩‍👩‍👧 привет नमस्ते 🇺🇳"


def post(url, path="chat/completions", **fields):
    return httpx.post(f"{url}/v1/{path}", json={**CHAT, **fields}, timeout=30)


@contextmanager
def streaming(url):
    """A stream of which one line was read, open until the block ends."""
    with httpx.stream("POST", f"{url}/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        yield


def until(condition, seconds=5.0):
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def saying(*pieces, **changes):
    return ScriptedUpstream(lambda _: Script(pieces, **changes))


def test_the_first_event_has_the_role_and_the_last_the_reason():
    """FO-13."""
    with running(ScriptedUpstream()) as door:
        answer = post(door.url, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.endswith("data: [DONE]\n\n")
    events = events_of(answer.text)
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == "Hello world"
    assert all(len(event["choices"]) == 1 and "usage" not in event for event in events)
    assert len({event["id"] for event in events}) == 1


@pytest.mark.parametrize("pieces", [("Hello", " world"), ()])
def test_usage_comes_last_with_no_choices_and_equals_the_whole_answers(pieces):
    """FO-13."""
    with running(saying(*pieces)) as door:
        events = events_of(post(door.url, stream=True, stream_options={"include_usage": True}).text)
        whole = post(door.url).json()
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == whole["usage"]
    assert all(event["usage"] is None for event in events[:-1])


def test_include_usage_false_sends_no_empty_choices():
    """FO-13."""
    with running(ScriptedUpstream()) as door:
        events = events_of(post(door.url, stream=True, stream_options={"include_usage": False}).text)
    assert all(event["choices"] for event in events)


def test_characters_survive_whatever_the_cuts():
    """FO-14."""
    with running(saying(*EMOJI)) as door:
        streamed = events_of(post(door.url, stream=True).text)
        whole = post(door.url).json()["choices"][0]["message"]["content"]
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in streamed) == whole == EMOJI


def test_fifty_streams_keep_their_order_and_never_mix():
    """FO-15."""

    def script(request):
        name = request.prompt.split("hi-")[1].split("<")[0]
        return Script([f"{name}:{i} " for i in range(200)])

    with running(ScriptedUpstream(script), config(max_concurrent_requests=50)) as door:

        async def one(client, number):
            messages = [{"role": "user", "content": f"hi-{number}"}]
            answer = await client.post(
                f"{door.url}/v1/chat/completions", json={**CHAT, "messages": messages, "stream": True}
            )
            return "".join(e["choices"][0]["delta"].get("content", "") for e in events_of(answer.text))

        async def everyone():
            async with httpx.AsyncClient(timeout=60) as client:
                return await asyncio.gather(*(one(client, number) for number in range(50)))

        texts = asyncio.run(everyone())
    assert texts == ["".join(f"{number}:{i} " for i in range(200)) for number in range(50)]


def test_several_choices_stream_side_by_side():
    with running(ScriptedUpstream()) as door:
        events = events_of(post(door.url, stream=True, n=3, seed=5).text)
        whole = post(door.url, n=3).json()
    for index in range(3):
        own = [e["choices"][0] for e in events if e["choices"][0]["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert own[-1]["finish_reason"] == "stop"
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert whole["usage"]["prompt_tokens"] == 7
    assert whole["usage"]["completion_tokens"] == 6


def test_choices_of_one_request_have_different_seeds():
    upstream = ScriptedUpstream()
    with running(upstream) as door:
        post(door.url, n=3, seed=5)
    assert sorted(request.seed for request in upstream.requests) == [5, 6, 7]


@pytest.mark.parametrize("streamed", [True, False])
def test_a_prompt_that_is_too_long_is_400_before_any_stream_byte(streamed):
    message = "the prompt has 5000 tokens, the context length is 4096 tokens"
    failed = Failed(FailureCode.CONTEXT_LENGTH_EXCEEDED, message, "prompt")
    with running(saying(failed=failed)) as door:
        answer = post(door.url, stream=streamed)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "context_length_exceeded",
    }


def test_an_error_after_the_first_byte_ends_the_stream_with_an_error_event():
    with running(saying("a", "b", "c", fail_after=2)) as door:
        answer = post(door.url, stream=True)
        client = openai.OpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.APIError, match="scripted failure"):
            list(client.chat.completions.create(model="assistant", messages=MESSAGES, stream=True))
    assert answer.status_code == 200
    *texts, last = events_of(answer.text)
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in texts) == "ab"
    assert last["error"]["code"] == "engine_unavailable"
    assert answer.text.endswith("data: [DONE]\n\n")


def test_an_engine_failure_without_a_stream_is_an_error_object():
    with running(saying("a", "b", fail_after=1)) as door:
        answer = post(door.url)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "engine_unavailable"


def test_long_silence_is_filled_with_comments(monkeypatch):
    """FO-16."""
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.02)
    with running(saying("late", first_delay_seconds=0.2)) as door:
        answer = post(door.url, stream=True)
    assert answer.text.count(": keep-alive\n\n") >= 2
    assert events_of(answer.text)[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_client_that_goes_frees_the_slot_and_cancels_the_engine():
    upstream = saying(*("x" for _ in range(10_000)), delay_seconds=0.01)
    with running(upstream, config(max_concurrent_requests=1)) as door:
        with streaming(door.url):
            assert upstream.running == 1
        until(lambda: upstream.running == 0)
        assert upstream.cancelled == 1
        until(lambda: door.gateway.engine.admission.running == 0)


def test_a_client_that_goes_while_waiting_leaves_the_queue():
    upstream = saying(*("x" for _ in range(10_000)), delay_seconds=0.01)
    with running(upstream, config(max_concurrent_requests=1)) as door:
        admission = door.gateway.engine.admission
        with streaming(door.url):
            body = json.dumps(CHAT).encode()
            host, port = door.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as waiter:
                waiter.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
                waiter.sendall(b"content-length: %d\r\n\r\n%s" % (len(body), body))
                until(lambda: admission.waiting == 1)
            until(lambda: admission.waiting == 0)
            assert admission.running == 1
    assert len(upstream.requests) == 1


def test_a_full_queue_is_429_and_says_when_to_retry():
    upstream = saying(*("x" for _ in range(10_000)), delay_seconds=0.01)
    settings = config(max_concurrent_requests=1, max_queued_requests=0)
    with running(upstream, settings) as door, streaming(door.url):
        refused = post(door.url)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


@pytest.mark.parametrize("streamed", [True, False])
def test_waiting_longer_than_the_request_may_take_is_503(streamed):
    with running(ScriptedUpstream(), config(max_concurrent_requests=1, request_timeout_seconds=1)) as door:

        async def occupy():
            door.gateway.engine.admission.enter("somebody else")

        asyncio.run_coroutine_threadsafe(occupy(), door.loop).result(5)
        refused = post(door.url, stream=streamed)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "queue_timeout"
    assert "retry-after" in refused.headers


def test_an_answer_that_takes_too_long_ends_with_an_error_event():
    upstream = saying(*("x" for _ in range(10_000)), delay_seconds=0.01)
    with running(upstream, config(request_timeout_seconds=1)) as door:
        *_, last = events_of(post(door.url, stream=True).text)
        assert last["error"]["code"] == "request_timeout"
        assert post(door.url).status_code == 504


def test_new_requests_are_refused_while_draining_and_the_connection_closes():
    with running(ScriptedUpstream()) as door:
        door.gateway.engine.drain.phase = Phase.LEAVING
        assert post(door.url).status_code == 200
        assert httpx.get(f"{door.admin_url}/readyz").status_code == 503
        door.gateway.engine.drain.phase = Phase.REFUSING
        refused = post(door.url)
    assert refused.status_code == 503
    assert refused.headers["connection"] == "close"
    assert refused.json()["error"]["code"] == "draining"


def test_request_ids_go_end_to_end():
    with running(ScriptedUpstream()) as door:
        url = f"{door.url}/v1/models"
        assert httpx.get(url, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
        assert (
            httpx.get(url, headers={"x-request-id": "no spaces"}).headers["x-request-id"].startswith("req-")
        )


def test_json_stays_json_with_any_text():
    nasty = 'quote " backslash \\ newline \n tab \t null \x00 separator \u2028'
    with running(saying(nasty)) as door:
        events = events_of(post(door.url, stream=True).text)
    assert json.dumps(nasty) in {json.dumps(e["choices"][0]["delta"].get("content")) for e in events}
