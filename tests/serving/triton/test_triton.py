"""Inside the triton container: real tritonserver, rendered repository, real Gemma 3 270M on llama.cpp."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc.aio as grpc

from support.generating import Answer, request
from support.triton_client import Stream, TritonModelError, events, generate, stats
from support.triton_runtime import TritonServer, gemma_270m_config

pytestmark = pytest.mark.triton

PATIENCE_SECONDS = 120
"""Longest wait for something that must happen, on a machine shared with a compiler."""


@pytest.fixture
async def client(triton_server: TritonServer) -> AsyncIterator[Any]:
    async with grpc.InferenceServerClient(triton_server.grpc_url) as client:
        yield client


async def answer(client: Any, **fields: Any) -> Answer:
    return Answer(await events(generate(client, request(**fields))))


async def until(client: Any, **wanted: int) -> None:
    """Wait until the statistics say so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not wanted.items() <= asdict(await stats(client)).items():
            await asyncio.sleep(0.02)


async def test_streams_a_sensible_continuation(client: Any) -> None:
    reply = await answer(client, prompt="1, 2, 3, 4, 5,", max_tokens=6)
    assert reply.events[0].accepted is not None
    assert len(reply.deltas) > 1, "tokens come as they are made"
    assert reply.text.startswith(" 6, 7")
    assert reply.finished.reason == "length"


async def test_characters_beyond_ascii_pass_both_ways(client: Any) -> None:
    reply = await answer(client, prompt="Zürich, Genève, 東京, Αθήνα, Zürich, Genève, 東京,", max_tokens=6)
    assert any(ord(character) > 127 for character in reply.text)
    assert "\ufffd" not in reply.text


@pytest.mark.parametrize("payload", ["nonsense", '{"id":"x","bogus":1}', "[]", '"text"'])
async def test_request_that_is_not_the_contract_is_refused_as_an_event(client: Any, payload: str) -> None:
    texts = [text async for text in Stream(client, payload).texts()]
    assert len(texts) == 1
    assert '"code":"invalid_request"' in texts[0]


async def test_refusal_names_both_numbers_of_a_prompt_too_long(client: Any) -> None:
    reply = await answer(client, prompt="word " * 3000)
    assert reply.failed.code == "context_length_exceeded"
    assert "1024" in reply.failed.message


async def test_media_arrive_as_the_bytes_they_are(client: Any) -> None:
    media = [b"\x89PNG\r\n\x1a\n\x00", b"RIFF\xff"]
    reply = Answer(await events(generate(client, request("<start_of_image><start_of_image>"), media)))
    assert (reply.failed.code, reply.failed.param) == ("unsupported", "media")
    assert "2 media item(s)" in reply.failed.message


async def test_hanging_up_frees_the_slot(client: Any) -> None:
    stream = generate(client, request(max_tokens=900, ignore_eos=True))
    with contextlib.suppress(asyncio.CancelledError):
        seen = 0
        async for _ in stream.texts():
            seen += 1
            if seen == 4:
                stream.cancel()
    before = await stats(client)
    await until(client, running=0, waiting=0, kv_used_tokens=0)
    assert (await stats(client)).tokens_generated_total - before.tokens_generated_total < 20


async def test_sixty_four_requests_at_once_all_finish(client: Any) -> None:
    replies = await asyncio.gather(*(answer(client, prompt=f"{n} and", max_tokens=4) for n in range(64)))
    assert [reply.finished.completion_tokens for reply in replies] == [4] * 64
    await until(client, running=0, waiting=0)


async def test_statistics_answer_while_every_slot_is_busy(client: Any) -> None:
    streams = [generate(client, request(max_tokens=900, ignore_eos=True)) for _ in range(4)]
    readers = [asyncio.create_task(events(stream)) for stream in streams]
    await until(client, running=4)
    numbers = await stats(client)
    assert 0 < numbers.kv_used_tokens <= numbers.kv_total_tokens == 4 * 1024
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await until(client, running=0)


async def test_engine_opens_no_port_of_its_own(triton_server: TritonServer) -> None:
    inodes = set()
    for descriptor in Path(f"/proc/{triton_server.stub_pid()}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[len("socket:[") : -1])
    listening = "0A"  # TCP_LISTEN in /proc/net/tcp
    tables = [Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    assert [row[1] for row in rows if row[3] == listening and row[9] in inodes] == []


async def test_sigterm_lets_running_streams_finish_and_leaves_nothing(tmp_path: Path) -> None:
    with TritonServer(gemma_270m_config(), tmp_path) as server:
        stub = server.stub_pid()
        async with grpc.InferenceServerClient(server.grpc_url) as client:
            streams = [generate(client, request(max_tokens=40, ignore_eos=True)) for _ in range(2)]
            readers = [asyncio.create_task(events(stream)) for stream in streams]
            await until(client, running=2)
            server.process.send_signal(signal.SIGTERM)
            replies = [Answer(await reader) for reader in readers]
        assert [reply.finished.completion_tokens for reply in replies] == [40, 40]
        assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0
        assert not Path(f"/proc/{stub}").exists()
        assert server.shared_memory() == []
        assert list(tmp_path.glob("gemma-llamacpp-*")) == []


async def test_killed_stub_fails_requests_instead_of_hanging_them(tmp_path: Path) -> None:
    with TritonServer(gemma_270m_config(), tmp_path) as server:
        async with grpc.InferenceServerClient(server.grpc_url) as client:
            await stats(client)
            os.kill(server.stub_pid(), signal.SIGKILL)
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(TritonModelError):
                    await stats(client)
                with pytest.raises(TritonModelError):
                    await events(generate(client, request()))


async def test_weights_that_are_no_gguf_fail_the_load_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(1000))
    server = TritonServer(gemma_270m_config(weights_path=str(broken)), tmp_path)
    with pytest.raises(RuntimeError, match=re.escape(f"could not load {broken}")), server:
        pass
