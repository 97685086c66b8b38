"""The engine, seen from the gateway: Triton's model `gemma` over gRPC. The only module that imports
tritonclient.

The generated stub is used directly: `tritonclient.grpc.aio` copies every response through numpy, which
costs more than the rest of the gateway's work on a token.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from enum import Enum
from typing import Any, Protocol

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gemma_serving import contract

MAX_MESSAGE_BYTES = 2**31 - 1
"""Decoded images travel in one message; Triton's own limit."""
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A restarted Triton is found again within a second instead of the default's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
FINAL_RESPONSE = "triton_final_response"
"""Parameter of the last response of a request."""
MAX_IDLE_STREAMS = 256
"""Open streams that wait for a next request: about 10 kB each."""
CANCEL_ATTEMPTS, CANCEL_SECONDS = 5, 2.0
"""How often an engine is told to end a sequence, and how long each time may take; then its stream is
cancelled after all."""
STATS_TIMEOUT_SECONDS = 5.0
ADAPT_TIMEOUT_SECONDS = 300.0
"""Sixteen adapters of 500 MB from a shared file system."""
READY_TIMEOUT_SECONDS = 5.0


class UpstreamError(Exception):
    """The engine could not be asked, or broke off; the text says why."""


class ModelState(Enum):
    """What Triton says of the model."""

    READY = "ready"
    NOT_READY = "not ready"
    """Not loaded yet, or nothing listens."""
    SILENT = "silent"
    """Somebody listens and does not answer."""


class Upstream(Protocol):
    """What the gateway asks of an engine; a scripted one stands in for it in tests."""

    def generate(
        self, request: contract.GenerateRequest, media: Sequence[bytes] = ()
    ) -> AsyncGenerator[contract.GenerateEvent, None]:
        """Events of one sequence; closing the generator cancels it. Raises UpstreamError."""
        ...

    async def stats(self) -> contract.EngineStats:
        """What the engine is doing now. Raises UpstreamError, TimeoutError."""
        ...

    async def adapt(self, adapters: Mapping[str, str]) -> contract.EngineStats:
        """Have the engine hold these LoRA adapters, name to path; how it is then. Raises UpstreamError,
        TimeoutError.
        """
        ...

    async def model_state(self) -> ModelState:
        """Whether the model is loaded."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class TritonUpstream:
    """Triton's gRPC endpoint.

    A stream is used again after its request's final response, and a request that is left is ended by a
    message and read to its end: a stream opened, closed or cancelled for each request ends Triton 2.51 with
    signal 11 now and then (docs/design/20261125-cancelling.md).
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._idle: list[_Stream] = []
        self._leaving: set[asyncio.Task[None]] = set()

    async def generate(
        self, request: contract.GenerateRequest, media: Sequence[bytes] = ()
    ) -> AsyncGenerator[contract.GenerateEvent, None]:
        """Events of one sequence; closing the generator ends the sequence."""
        message = _infer_request(request.id, request.to_json().encode(), media)
        async with aclosing(self._events(message, request.id)) as events:
            async for raw in events:
                yield decode_event(raw)

    async def stats(self) -> contract.EngineStats:
        """What the engine is doing now."""
        return await self._stats_after("stats", contract.STATS_REQUEST, STATS_TIMEOUT_SECONDS)

    async def adapt(self, adapters: Mapping[str, str]) -> contract.EngineStats:
        """Have the engine hold these LoRA adapters; how it is then."""
        wanted = json.dumps({contract.ADAPTERS_KEY: dict(adapters)})
        return await self._stats_after("adapters", wanted, ADAPT_TIMEOUT_SECONDS)

    async def _stats_after(self, identity: str, payload: str, timeout_seconds: float) -> contract.EngineStats:
        answer: bytes | None = None
        async with asyncio.timeout(timeout_seconds):
            async for raw in self._events(_infer_request(identity, payload.encode(), ())):
                answer = raw
        if answer is None:
            raise UpstreamError(f"the engine answered a request for {identity} with nothing")
        return contract.EngineStats.from_json(answer)

    async def model_state(self) -> ModelState:
        """Whether the model is loaded."""
        request = service_pb2.ModelReadyRequest(name=contract.MODEL_NAME)
        try:
            answer = await self._stub.ModelReady(request, timeout=READY_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return ModelState.SILENT if silent else ModelState.NOT_READY
        return ModelState.READY if answer.ready else ModelState.NOT_READY

    async def close(self) -> None:
        """Close the channel and its streams."""
        leaving = list(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        for stream in self._idle:
            stream.cancel()
        await self._channel.close()

    async def _events(self, message: Any, identity: str | None = None) -> AsyncGenerator[bytes, None]:
        """Events up to the final response. A sequence with an id that is left earlier is ended."""
        exchange = _Exchange(self._stub, self._idle, message)
        try:
            while (response := await exchange.next()) is not grpc.aio.EOF:
                if response.error_message:
                    raise UpstreamError(response.error_message)
                contents = response.infer_response.raw_output_contents
                if contents:
                    # A BYTES[1] tensor: four bytes of length, then the bytes.
                    yield contents[0][4:]
                if exchange.is_over:
                    return
        except grpc.aio.AioRpcError as error:
            raise _worded(error) from error
        finally:
            if exchange.is_over:
                exchange.release()
            elif identity is None or exchange.is_broken:
                exchange.cancel()
            else:
                task = asyncio.create_task(self._end(exchange, identity))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def _end(self, exchange: _Exchange, identity: str) -> None:
        """Have the engine end a sequence. Asked again, as the message may overtake the request itself."""
        rest = asyncio.create_task(exchange.finish())
        try:
            for _ in range(CANCEL_ATTEMPTS):
                with suppress(UpstreamError, TimeoutError):
                    await self._ask_to_end(identity)
                if (await asyncio.wait({rest}, timeout=CANCEL_SECONDS))[0]:
                    break
        finally:
            rest.cancel()
            if exchange.is_over:
                exchange.release()
            else:
                exchange.cancel()

    async def _ask_to_end(self, identity: str) -> None:
        payload = json.dumps({contract.CANCEL_KEY: identity}).encode()
        async with asyncio.timeout(CANCEL_SECONDS):
            async for _ in self._events(_infer_request("cancel", payload, ())):
                pass


class _Stream:
    """A stream to Triton, read by a task of its own: grpc cancels a call whose read is cancelled, and so
    whoever waits for a response may stop waiting.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._arrived: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._ended: BaseException | None = None
        self._reading = asyncio.create_task(self._read())

    @property
    def is_open(self) -> bool:
        """Whether another request may use it."""
        return not self._reading.done()

    async def write(self, message: Any) -> None:
        """Send a request. Raises AioRpcError, InvalidStateError."""
        await self._call.write(message)

    async def next(self) -> Any:
        """The next response, or EOF. Raises AioRpcError."""
        while not self._arrived:
            if self._ended is not None:
                raise self._ended
            if not self.is_open:
                return grpc.aio.EOF
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._arrived.popleft()

    def cancel(self) -> None:
        """Give it up."""
        self._reading.cancel()
        self._call.cancel()

    async def _read(self) -> None:
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                self._arrived.append(response)
                self._wake()
        except grpc.aio.AioRpcError as error:
            self._ended = error
        finally:
            # In the next step this task is done.
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Exchange:
    """One request on one stream."""

    def __init__(self, stub: Any, idle: list[_Stream], message: Any) -> None:
        self._stub = stub
        self._idle = idle
        self._message = message
        self._stream: _Stream | None = None
        self._opening: asyncio.Task[tuple[_Stream, Any]] | None = None
        self.is_over = False
        """The final response has come: the stream is free."""
        self.is_broken = False
        """The stream is of no more use."""

    async def next(self) -> Any:
        """The next response, or EOF. Raises AioRpcError, UpstreamError."""
        try:
            if self._stream is not None:
                response = await self._stream.next()
            else:
                self._opening = self._opening or asyncio.create_task(self._open())
                # Shielded: grpc cancels a call whose write is cancelled, too.
                self._stream, response = await asyncio.shield(self._opening)
        except (grpc.aio.AioRpcError, UpstreamError):
            self.is_broken = True
            raise
        if response is grpc.aio.EOF or response.error_message:
            self.is_broken = True
        else:
            self.is_over = response.infer_response.parameters[FINAL_RESPONSE].bool_param
        return response

    async def finish(self) -> None:
        """Read on until nothing more comes."""
        with suppress(grpc.aio.AioRpcError, UpstreamError):
            while not (self.is_over or self.is_broken):
                await self.next()

    def release(self) -> None:
        """Leave the stream to another request."""
        assert self._stream is not None, "what is over was open"
        if len(self._idle) < MAX_IDLE_STREAMS:
            self._idle.append(self._stream)
        else:
            self._stream.cancel()

    def cancel(self) -> None:
        """Give the stream up."""
        if self._stream is not None:
            self._stream.cancel()
        elif self._opening is not None:
            self._opening.cancel()
            self._opening.add_done_callback(_give_up)

    async def _open(self) -> tuple[_Stream, Any]:
        """Send the message on a stream that is there or on a new one; the stream and its first response."""
        while True:
            used = bool(self._idle)
            stream = self._idle.pop() if used else _Stream(self._stub.ModelStreamInfer())
            try:
                await stream.write(self._message)
                response = await stream.next()
            except asyncio.CancelledError:
                stream.cancel()
                raise
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                if used:
                    continue  # The stream ended while it was idle, with the Triton that it led to.
                if isinstance(error, grpc.aio.AioRpcError):
                    raise
                raise UpstreamError("the stream could not be opened") from error
            if response is not grpc.aio.EOF or not used:
                return stream, response


def _give_up(opening: asyncio.Task[tuple[_Stream, Any]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].cancel()


def _worded(error: grpc.aio.AioRpcError) -> UpstreamError:
    return UpstreamError(f"{error.code().name}: {error.details()}")


def decode_event(raw: bytes) -> contract.GenerateEvent:
    """One event; deltas without log probabilities, nearly all there are, take a short cut."""
    data = json.loads(raw)
    delta = data.get("delta")
    if delta is not None and len(data) == 1 and "logprobs" not in delta:
        return contract.GenerateEvent(delta=contract.Delta(delta["text"], delta["tokens"]))
    return contract.GenerateEvent.from_dict(data)


def _infer_request(identity: str, payload: bytes, media: Sequence[bytes]) -> Any:
    message = service_pb2.ModelInferRequest(model_name=contract.MODEL_NAME, id=identity)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    _add_input(message, contract.REQUEST_TENSOR, [payload])
    if media:
        _add_input(message, contract.MEDIA_TENSOR, media)
    return message


def _add_input(message: Any, name: str, values: Sequence[bytes]) -> None:
    message.inputs.add(name=name, datatype="BYTES", shape=[len(values)])
    message.raw_input_contents.append(b"".join(len(value).to_bytes(4, "little") + value for value in values))
