"""The Engine protocol, and the one exception by which an engine refuses a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from gemma_serving.contract import (
    EngineStats,
    Failed,
    FailureCode,
    GenerateEvent,
    GenerateRequest,
    RuntimeConfig,
)


class Engine(Protocol):
    """What generates tokens.

    All methods are called on one event loop; only `load`, `adapt` and `close` may take long.
    """

    async def load(self, config: RuntimeConfig) -> None:
        """Load the weights and get ready; raises with a message that says what is missing and what to do."""
        ...

    def submit(
        self, request: GenerateRequest, media: Sequence[bytes] = ()
    ) -> AsyncGenerator[GenerateEvent, None]:
        """Yield events in the contract's order: accepted, delta*, then finished or failed. Never raises.

        Closing the iterator cancels the request.
        """
        ...

    async def cancel(self, request_id: str) -> None:
        """End the request within one decode step; its stream ends with `finished: cancelled`.

        Unknown ids have no effect.
        """
        ...

    async def adapt(self, adapters: Mapping[str, str]) -> None:
        """Hold exactly these LoRA adapters, name to path, while requests go on. Never raises.

        `stats` tells of each whether it is loaded, or why not.
        """
        ...

    def stats(self) -> EngineStats:
        """Return the counts of this moment, without waiting for the library.

        Raises RuntimeError if the engine is dead.
        """
        ...

    async def close(self) -> None:
        """Stop the library and free its memory. Running requests end; `submit` afterwards yields `failed`."""
        ...


class EngineFailureError(Exception):
    """The request cannot be served; becomes the stream's `failed` event."""

    def __init__(self, code: FailureCode, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def event(self) -> GenerateEvent:
        """Return the event that tells the client."""
        return GenerateEvent(failed=Failed(code=self.code.value, message=self.message, param=self.param))
