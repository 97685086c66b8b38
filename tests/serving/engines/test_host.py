"""The bridge between Triton's threads and an engine: every client hears an end, whatever happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gemma_serving.contract import ADAPTERS_KEY, CANCEL_KEY, STATS_REQUEST, AdapterState, EngineStats
from gemma_serving.engines.host import EngineHost
from support.generating import request
from support.runtime_configs import runtime_config
from support.scripted_engine import ScriptedEngine

PATIENCE_SECONDS = 20


class Client:
    """The far end of a stream; cancelling it is hanging up."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.errors: list[str] = []
        self.finals = 0
        self.cancelled = False
        self.break_on_send = False
        self._change = threading.Condition()

    def send(self, text: str) -> None:
        with self._change:
            if self.break_on_send:
                raise OSError("the client's stream broke")
            self.texts.append(text)
            self._change.notify_all()

    def fail(self, message: str) -> None:
        self.errors.append(message)

    def finish(self) -> None:
        with self._change:
            self.finals += 1
            self._change.notify_all()

    def is_cancelled(self) -> bool:
        return self.cancelled

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._change:
            assert self._change.wait_for(condition, PATIENCE_SECONDS), (self.texts, self.errors, self.finals)

    def events(self) -> list[dict[str, Any]]:
        self.wait_for(lambda: self.finals > 0)
        assert self.finals == 1
        return [json.loads(text) for text in self.texts]


@contextmanager
def hosting(engine: ScriptedEngine, **changes: Any) -> Iterator[EngineHost]:
    host = EngineHost(engine, runtime_config(**changes))
    host.start()
    try:
        yield host
    finally:
        host.close()


def start(host: EngineHost, client: Client, **fields: Any) -> Client:
    host.handle(request("one two", **fields).to_json().encode(), [], client)
    return client


def first_answer(host: EngineHost) -> dict[str, Any]:
    """Return the first event of a new request, which is then given up."""
    client = start(host, Client(), max_tokens=1)
    client.wait_for(lambda: bool(client.texts))
    client.cancelled = True
    return client.events()[0]


def test_stream_ends_with_one_final_flag() -> None:
    engine = ScriptedEngine()
    engine.allow(3)
    with hosting(engine) as host:
        events = start(host, Client(), max_tokens=3).events()
    assert events[0] == {"accepted": {"prompt_tokens": 2}}
    assert "".join(event["delta"]["text"] for event in events[1:-1]) == "t0 t1 t2 "
    assert events[-1]["finished"]["completion_tokens"] == 3


@pytest.mark.parametrize("payload", [b"nonsense", b"[]", b'{"id":"a","bogus":1}', b'{"prompt":"no id"}'])
def test_payload_that_is_no_request_is_answered_and_ended(payload: bytes) -> None:
    with hosting(ScriptedEngine()) as host:
        client = Client()
        host.handle(payload, [], client)
        (event,) = client.events()
    assert event["failed"]["code"] == "invalid_request"


def test_engine_that_throws_ends_the_stream_with_a_failure() -> None:
    engine = ScriptedEngine(failing_step=ZeroDivisionError("a bug in the library"))
    engine.allow(1)
    with hosting(engine) as host:
        last = start(host, Client()).events()[-1]
    assert last["failed"]["code"] == "engine_error"
    assert "a bug in the library" in last["failed"]["message"]


def test_stream_that_breaks_while_sending_still_gets_its_final_flag_and_frees_the_sequence() -> None:
    engine = ScriptedEngine()
    with hosting(engine) as host:
        client = Client()
        client.break_on_send = True
        start(host, client, max_tokens=50)
        client.wait_for(lambda: client.finals == 1)
        assert client.errors
        assert engine.stats().running == 0


def test_hanging_up_cancels_the_sequence() -> None:
    engine = ScriptedEngine()
    engine.allow(1)
    with hosting(engine) as host:
        client = start(host, Client(), max_tokens=50)
        client.wait_for(lambda: any("delta" in text for text in client.texts))
        client.cancelled = True
        assert client.events()[-1]["finished"]["reason"] == "cancelled"
        assert engine.stats().running == 0


def test_a_message_ends_a_sequence_and_one_about_nobody_does_no_harm() -> None:
    engine = ScriptedEngine()
    with hosting(engine) as host:
        running = start(host, Client(), id="left", max_tokens=50)
        running.wait_for(lambda: len(running.texts) == 1)
        for identity in ("nobody", "left"):
            told = Client()
            host.handle(json.dumps({CANCEL_KEY: identity}).encode(), [], told)
            told.wait_for(lambda told=told: told.finals == 1)
            assert (told.texts, told.errors) == ([], [])
        running.wait_for(lambda: running.finals == 1)
    assert running.events()[-1]["finished"]["reason"] == "cancelled"


def test_statistics_come_as_one_event() -> None:
    engine = ScriptedEngine()
    with hosting(engine) as host:
        running = start(host, Client(), max_tokens=50)
        running.wait_for(lambda: len(running.texts) == 1)
        client = Client()
        host.handle(STATS_REQUEST.encode(), [], client)
        client.wait_for(lambda: client.finals == 1)
        stats = EngineStats.from_json(client.texts[0])
        running.cancelled = True
    assert (stats.running, stats.waiting, stats.kv_used_tokens, stats.kv_total_tokens) == (1, 0, 2, 200)


def test_statistics_of_a_dead_engine_are_an_error_not_numbers() -> None:
    engine = ScriptedEngine()
    with hosting(engine) as host:
        engine._dead = "the engine process has died"
        client = Client()
        host.handle(STATS_REQUEST.encode(), [], client)
        client.wait_for(lambda: client.finals == 1)
        assert not host.is_alive()
    assert client.texts == []
    assert "the engine process has died" in client.errors[0]


def test_closing_waits_for_running_requests_and_refuses_new_ones() -> None:
    engine = ScriptedEngine()
    host = EngineHost(engine, runtime_config())
    host.start()
    running = start(host, Client(), max_tokens=2)
    running.wait_for(lambda: len(running.texts) == 1)
    closing = threading.Thread(target=host.close)
    closing.start()
    while (answer := first_answer(host)).get("failed", {}).get("code") != "overloaded":
        assert "accepted" in answer, "until closing has begun, requests are still taken"
    assert not engine.closed
    engine.allow(2)
    assert running.events()[-1]["finished"]["completion_tokens"] == 2
    closing.join(PATIENCE_SECONDS)
    assert engine.closed


def test_closing_gives_up_on_a_request_that_never_ends() -> None:
    engine = ScriptedEngine()
    with hosting(engine, drain_seconds=0) as host:
        client = start(host, Client(), max_tokens=50)
        client.wait_for(lambda: len(client.texts) == 1)
    assert client.finals == 1
    assert engine.closed


def test_failing_load_reaches_the_caller() -> None:
    host = EngineHost(
        ScriptedEngine(failing_load=FileNotFoundError("no weights at /weights")), runtime_config()
    )
    with pytest.raises(FileNotFoundError, match="no weights at /weights"):
        host.start()


def test_adapters_are_handed_to_the_engine_and_its_word_on_them_comes_back() -> None:
    with hosting(ScriptedEngine()) as host:
        client = Client()
        host.handle(json.dumps({ADAPTERS_KEY: {"maths": "/weights/maths"}}).encode(), [], client)
        (answer,) = client.events()
    (state,) = EngineStats.from_dict(answer).adapters or ()
    assert isinstance(state, AdapterState)
    assert state.name == "maths"
    assert "at start only" in (state.failure or "")


@pytest.mark.parametrize("adapters", [[], {"maths": 1}])
def test_adapters_without_paths_are_refused(adapters: Any) -> None:
    with hosting(ScriptedEngine()) as host:
        client = Client()
        host.handle(json.dumps({ADAPTERS_KEY: adapters}).encode(), [], client)
        (answer,) = client.events()
    assert answer["failed"]["code"] == "invalid_request"
