"""Speaks the contract to the Triton model `gemma` over gRPC, one stream per request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc.aio as grpc

from gemma_serving.contract import (
    EVENT_TENSOR,
    MEDIA_TENSOR,
    MODEL_NAME,
    REQUEST_TENSOR,
    STATS_REQUEST,
    EngineStats,
    GenerateEvent,
    GenerateRequest,
)


class TritonModelError(Exception):
    """Triton answered with an error in place of an event."""


def _bytes_input(name: str, items: Sequence[bytes]) -> Any:
    tensor = grpc.InferInput(name, [len(items)], "BYTES")
    tensor.set_data_from_numpy(np.array(items, dtype=np.object_))
    return tensor


class Stream:
    """One request under way."""

    def __init__(self, client: Any, payload: str, media: Sequence[bytes] = ()) -> None:
        async def inputs() -> AsyncIterator[dict[str, Any]]:
            tensors = [_bytes_input(REQUEST_TENSOR, [payload.encode()])]
            if media:
                tensors.append(_bytes_input(MEDIA_TENSOR, media))
            yield {"model_name": MODEL_NAME, "inputs": tensors}

        self._call = client.stream_infer(inputs())

    async def texts(self) -> AsyncIterator[str]:
        """Yield the event texts; TritonModelError where Triton reports one."""
        async for result, error in self._call:
            if error is not None:
                raise TritonModelError(str(error))
            yield result.as_numpy(EVENT_TENSOR)[0].decode()

    def cancel(self) -> None:
        """Hang up."""
        self._call.cancel()


def generate(client: Any, request: GenerateRequest, media: Sequence[bytes] = ()) -> Stream:
    """Start a generation."""
    return Stream(client, request.to_json(), media)


async def events(stream: Stream) -> list[GenerateEvent]:
    """Read a generation to its end."""
    return [GenerateEvent.from_json(text) async for text in stream.texts()]


async def stats(client: Any) -> EngineStats:
    """Ask for the engine's statistics."""
    (text,) = [text async for text in Stream(client, STATS_REQUEST).texts()]
    return EngineStats.from_json(text)
