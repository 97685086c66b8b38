"""From SIGTERM to exit, with a real process."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serving import config, events_of
from support.triton_runtime import TritonServer, gemma_270m_config

CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}], "stream": True}
EXIT_TIMEOUT_SECONDS = 30
"""An idle Triton needs 3 s, and ends with an error when this has passed."""
SCRIPT = Path(__file__).parent / "scripted_gateway.py"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def status(url):
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return None


@contextmanager
def gateway_process(folder, tokens, delay, **settings):
    port, admin_port = free_ports(2)
    (folder / "runtime.json").write_text(config(**settings).to_json())
    handshake = folder / "run" / "drained"
    arguments = [SCRIPT, folder / "runtime.json", port, admin_port, handshake, tokens, delay]
    with until_started(arguments, admin_port) as (process, admin):
        yield process, f"http://127.0.0.1:{port}", admin, handshake


@contextmanager
def until_started(arguments, admin_port):
    process = subprocess.Popen([sys.executable, *map(str, arguments)])
    admin = f"http://127.0.0.1:{admin_port}"
    try:
        wait_until(lambda: status(f"{admin}/startupz") == 200)
        yield process, admin
    finally:
        process.kill()
        process.wait()


def test_sigterm_under_sixteen_streams_lets_all_of_them_finish(tmp_path):
    settings = {"max_concurrent_requests": 16, "endpoint_removal_seconds": 2, "drain_seconds": 60}
    with gateway_process(tmp_path, 300, 0.03, **settings) as (process, url, admin, handshake):

        async def one(client, started):
            async with client.stream("POST", f"{url}/v1/chat/completions", json=CHAT) as answer:
                lines = []
                async for line in answer.aiter_lines():
                    lines.append(line)
                    started.set()
                return "\n".join(lines)

        async def scenario():
            started = [asyncio.Event() for _ in range(16)]
            async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=64)) as client:
                streams = [asyncio.create_task(one(client, event)) for event in started]
                await asyncio.gather(*(event.wait() for event in started))
                process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(wait_until, lambda: status(f"{admin}/readyz") == 503)
                leaving = await client.get(f"{url}/v1/models")
                await asyncio.to_thread(wait_until, lambda: status(f"{url}/v1/models") == 503)
                refused = await client.post(f"{url}/v1/chat/completions", json=CHAT)
                assert not handshake.exists()
                return leaving.status_code, refused, await asyncio.gather(*streams)

        leaving, refused, texts = asyncio.run(scenario())
        assert process.wait(20) == 0
        assert handshake.exists()
    assert leaving == 200
    assert refused.status_code == 503
    assert refused.headers["connection"] == "close"
    expected = "".join(f"token{i} " for i in range(300))
    for text in texts:
        events = events_of(text)
        assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == expected
        assert events[-1]["choices"][0]["finish_reason"] == "stop"
        assert "data: [DONE]" in text


def test_streams_longer_than_the_drain_time_end_with_an_error_event(tmp_path):
    settings = {"endpoint_removal_seconds": 0, "drain_seconds": 1, "context_length": 100_000}
    with gateway_process(tmp_path, 100_000, 0.01, **settings) as (process, url, _, handshake):
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=CHAT, timeout=30) as answer:
            lines = answer.iter_lines()
            text = next(lines)
            process.send_signal(signal.SIGTERM)
            text += "\n" + "\n".join(lines)
        assert process.wait(20) == 0
        assert handshake.exists()
    assert events_of(text)[-1]["error"]["code"] == "draining"


def test_an_idle_gateway_leaves_at_once_and_removes_an_old_handshake_at_start(tmp_path):
    old = tmp_path / "run" / "drained"
    old.parent.mkdir()
    old.write_text("of the pod's last container")
    with gateway_process(tmp_path, 1, 0, endpoint_removal_seconds=0) as (process, _, _, handshake):
        assert not handshake.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert handshake.exists()


@pytest.mark.triton
def test_once_the_handshake_is_there_nothing_of_the_gateway_holds_triton_back(tmp_path):
    """An idle stream kept the model alive until Triton's exit timed out: every pod left 20 s late."""
    settings = gemma_270m_config(endpoint_removal_seconds=0, drain_seconds=EXIT_TIMEOUT_SECONDS)
    with TritonServer(settings, tmp_path) as triton:
        port, admin_port = free_ports(2)
        handshake = tmp_path / "run" / "drained"
        (tmp_path / "gateway.json").write_text(settings.to_json())
        arguments = ["-m", "gemma_serving.gateway", "--config", tmp_path / "gateway.json"]
        arguments += ["--host", "127.0.0.1", "--port", port, "--admin-port", admin_port]
        arguments += ["--triton", triton.grpc_url, "--handshake", handshake]
        with until_started(arguments, admin_port) as (process, _):
            body = {"model": "demo", "prompt": "1, 2, 3,", "max_tokens": 4}
            assert httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body).status_code == 200
            process.send_signal(signal.SIGTERM)
            wait_until(handshake.exists)
            # Stopped, so that what it does after the hand-shake cannot help.
            process.send_signal(signal.SIGSTOP)
            assert triton.terminate() == 0, triton.last_lines()
        assert "successfully unloaded" in triton.last_lines()
