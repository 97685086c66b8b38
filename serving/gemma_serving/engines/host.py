"""Runs one engine for a synchronous host such as Triton's Python backend.

One thread owns the event loop on which the engine lives; one more asks the waiting clients' streams whether
they were cancelled. Whatever happens to a request, its responder's `finish` is called exactly once: without
it a client waits for ever.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

from gemma_serving.contract import (
    ADAPTERS_KEY,
    CANCEL_KEY,
    STATS_REQUEST,
    ContractError,
    FailureCode,
    GenerateRequest,
    RuntimeConfig,
)
from gemma_serving.engines.protocol import Engine, EngineFailureError

CANCEL_POLL_SECONDS: Final = 0.02
"""How often streams are asked; with a decode step, how late a cancelled sequence is freed."""
LAST_WORDS_SECONDS: Final = 5.0
"""How long streams may take to tell their clients that the engine has been closed."""

_STATS: Final = json.loads(STATS_REQUEST)

_log = logging.getLogger(__name__)


class Responder(Protocol):
    """The way back to one client. Methods may be called from any thread."""

    def send(self, text: str) -> None:
        """Send one event."""

    def fail(self, message: str) -> None:
        """Send an error in place of an event."""

    def finish(self) -> None:
        """Say that nothing more comes."""

    def is_cancelled(self) -> bool:
        """Return whether the client has gone."""


class EngineHost:
    """An engine, its thread and its running requests."""

    def __init__(self, engine: Engine, config: RuntimeConfig) -> None:
        self._engine = engine
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine-loop", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="cancel-watcher", daemon=True)
        self._running: dict[int, _Watched] = {}
        self._open = 0
        """Streams that have not been finished, those for statistics included."""
        self._changed = threading.Condition()
        self._serial = 0
        self._closing = False
        self._stopped = False

    def start(self) -> None:
        """Load the engine; blocks, and raises what `Engine.load` raises."""
        self._thread.start()
        try:
            self._wait_for(self._engine.load(self._config))
        except BaseException:
            self._stop_loop()
            raise
        self._watcher.start()

    def handle(self, payload: bytes, media: Sequence[bytes], responder: Responder) -> None:
        """Start one request and return; events go to the responder."""
        with self._changed:
            stopped = self._stopped
            self._open += not stopped
        if stopped:
            responder.fail("the engine has been closed")
            responder.finish()
        else:
            asyncio.run_coroutine_threadsafe(self._respond(payload, media, responder), self._loop)

    def is_alive(self) -> bool:
        """Return whether the engine answers for itself."""
        try:
            self._engine.stats()
        except Exception:  # a dead engine may say so in any way
            return False
        return self._thread.is_alive()

    def close(self) -> None:
        """Take no more requests, wait for the running ones for `drain_seconds`, then close the engine."""
        if not self._thread.is_alive():
            return
        with self._changed:
            self._closing = True
            if not self._changed.wait_for(self._is_idle, self._config.drain_seconds):
                _log.warning("ending %d requests after %d s", self._open, self._config.drain_seconds)
        try:
            self._wait_for(self._engine.close())
        finally:
            with self._changed:
                self._stopped = True
                if not self._changed.wait_for(self._is_idle, LAST_WORDS_SECONDS):
                    _log.error("%d requests did not end with the engine", self._open)
                self._changed.notify_all()
            self._stop_loop()

    def _is_idle(self) -> bool:
        return self._open == 0

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _respond(self, payload: bytes, media: Sequence[bytes], responder: Responder) -> None:
        try:
            document = _parsed(payload)
            if document == _STATS:
                responder.send(self._engine.stats().to_json())
            elif isinstance(document, dict) and document.keys() == {CANCEL_KEY}:
                await self._engine.cancel(str(document[CANCEL_KEY]))
            elif isinstance(document, dict) and document.keys() == {ADAPTERS_KEY}:
                await self._engine.adapt(_adapters_of(document))
                responder.send(self._engine.stats().to_json())
            else:
                await self._generate(GenerateRequest.from_json(payload), media, responder)
        except ContractError as error:
            responder.send(EngineFailureError(FailureCode.INVALID_REQUEST, str(error)).event().to_json())
        except Exception as error:  # a defect here must reach the client as an error, not as silence
            _log.exception("request failed outside the engine")
            responder.fail(f"{type(error).__name__}: {error}")
        finally:
            try:
                responder.finish()
            finally:
                with self._changed:
                    self._open -= 1
                    self._changed.notify_all()

    async def _generate(self, request: GenerateRequest, media: Sequence[bytes], responder: Responder) -> None:
        if self._closing:
            refusal = EngineFailureError(
                FailureCode.OVERLOADED, "this replica is shutting down: send the request again"
            )
            responder.send(refusal.event().to_json())
            return
        serial = self._register(request.id, responder)
        try:
            # Closed at once when sending breaks: a generator left alone goes on until the garbage collector
            # comes by.
            async with aclosing(self._engine.submit(request, media)) as events:
                async for event in events:
                    responder.send(event.to_json())
        finally:
            self._unregister(serial)

    def _register(self, request_id: str, responder: Responder) -> int:
        with self._changed:
            self._serial += 1
            self._running[self._serial] = _Watched(request_id, responder)
            self._changed.notify_all()
            return self._serial

    def _unregister(self, serial: int) -> None:
        with self._changed:
            watched = self._running.pop(serial)
        watched.forget()

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._running and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                running = list(self._running.values())
            for watched in running:
                if watched.is_cancelled():
                    asyncio.run_coroutine_threadsafe(self._engine.cancel(watched.request_id), self._loop)
            time.sleep(CANCEL_POLL_SECONDS)


class _Watched:
    """A running request whose client may go.

    Triton frees a request's responses with the final flag, and asking it about them afterwards ends the whole
    server (signal 11 in TRITONBACKEND_ResponseFactoryIsCancelled, seen with 2.51 at 16 streams): the question
    and the end of the request exclude each other.
    """

    def __init__(self, request_id: str, responder: Responder) -> None:
        self.request_id = request_id
        self._responder = responder
        self._asking = threading.Lock()
        self._over = False

    def is_cancelled(self) -> bool:
        """Return whether the client has gone; False once the request is over."""
        with self._asking:
            return not self._over and self._responder.is_cancelled()

    def forget(self) -> None:
        """Return when nobody asks any more, and let nobody ask again."""
        with self._asking:
            self._over = True


def _adapters_of(document: dict[str, Any]) -> dict[str, str]:
    """Return name to path; ContractError if it is anything else."""
    adapters = document[ADAPTERS_KEY]
    if not isinstance(adapters, dict) or not all(isinstance(path, str) for path in adapters.values()):
        raise ContractError(f"{ADAPTERS_KEY}: an object of paths by name is needed")
    return adapters


def _parsed(payload: bytes) -> object:
    """Return the document; ContractError if it is not JSON at all."""
    try:
        return json.loads(payload)
    except ValueError as error:
        raise ContractError(f"request: not JSON: {error}") from error
