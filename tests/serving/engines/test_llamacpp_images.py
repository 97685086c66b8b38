"""Images on the real llama.cpp: the real Gemma 3 270M with a random vision tower in front."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gemma_serving.contract import MediaConfig
from gemma_serving.engines.llamacpp import LlamaCppEngine
from support.generating import ask, request
from support.gguf_file import IMAGE_TOKENS, write_projector
from support.triton_runtime import gemma_270m_config

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMAGE = "<start_of_image>"


def png(shade: int, size: int = 32) -> bytes:
    """A grey square."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = (b"\0" + bytes([shade, shade, shade]) * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppEngine]:
    projector = write_projector(tmp_path_factory.mktemp("vision") / "mmproj.gguf")
    config = gemma_270m_config(
        context_length=256,
        max_concurrent_requests=2,
        modalities=["text", "image"],
        engine_arguments={"mmproj": str(projector)},
        media=MediaConfig(max_items=100),
    )
    engine = LlamaCppEngine()
    await engine.load(config)
    yield engine
    await engine.close()


async def test_images_count_as_the_tokens_they_become(engine: LlamaCppEngine) -> None:
    none, one, two = [
        await ask(engine, "see " + IMAGE * count + " now", media=[png(200)] * count) for count in (0, 1, 2)
    ]
    assert one.events[0].accepted is not None
    assert one.finished.completion_tokens == 8
    per_image = two.finished.prompt_tokens - one.finished.prompt_tokens
    assert per_image >= IMAGE_TOKENS
    assert none.finished.prompt_tokens < one.finished.prompt_tokens


async def test_different_images_give_different_answers(engine: LlamaCppEngine) -> None:
    black, white = [await ask(engine, f"{IMAGE} shows", media=[png(shade)]) for shade in (0, 255)]
    assert black.text != white.text


async def test_bytes_that_are_no_image_are_refused(engine: LlamaCppEngine) -> None:
    answer = await ask(engine, f"{IMAGE} shows", media=[b"not an image"])
    assert answer.failed.code == "invalid_request"


async def test_prompt_too_long_because_of_its_images_is_refused_with_both_numbers(
    engine: LlamaCppEngine,
) -> None:
    answer = await ask(engine, IMAGE * 100, media=[png(100)] * 100)
    assert answer.failed.code == "context_length_exceeded"
    assert "256" in answer.failed.message


async def test_cancelling_a_request_with_images_frees_its_slot(engine: LlamaCppEngine) -> None:
    stream = engine.submit(request(f"{IMAGE} shows", max_tokens=200, ignore_eos=True, id="images"), [png(9)])
    async for event in stream:
        if event.delta is not None:
            await engine.cancel("images")
        if event.finished is not None:
            assert event.finished.reason == "cancelled"
            assert event.finished.completion_tokens < 20
    assert engine.stats().running == 0
    assert (await ask(engine, f"{IMAGE} shows", media=[png(9)])).finished.reason == "length"


async def test_log_probabilities_come_with_images_too(engine: LlamaCppEngine) -> None:
    answer = await ask(engine, f"{IMAGE} shows", media=[png(9)], logprobs=2)
    entries = [entry for delta in answer.deltas for entry in delta.logprobs or ()]
    assert "".join(entry.token for entry in entries) == answer.text
    assert all(len(entry.top) == 2 for entry in entries)
