"""Asking an engine in one line, and reading what it said."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_serving.contract import Delta, Failed, Finished, GenerateEvent, GenerateRequest
from gemma_serving.engines import Engine

_ids = itertools.count()


def request(prompt: str | None = "France is a country", **fields: Any) -> GenerateRequest:
    """Return a greedy request with a fresh id."""
    return GenerateRequest(
        **{"id": f"r{next(_ids)}", "prompt": prompt, "temperature": 0.0, "max_tokens": 8, **fields}
    )


@dataclass(frozen=True)
class Answer:
    """All events of one stream."""

    events: list[GenerateEvent]

    @property
    def deltas(self) -> list[Delta]:
        """Return the deltas in order."""
        return [event.delta for event in self.events if event.delta is not None]

    @property
    def text(self) -> str:
        """Return the whole text."""
        return "".join(delta.text for delta in self.deltas)

    @property
    def finished(self) -> Finished:
        """Return the ending; fails on a stream that failed."""
        last = self.events[-1]
        assert last.finished is not None, last
        return last.finished

    @property
    def failed(self) -> Failed:
        """Return the failure; fails on a stream that did not."""
        last = self.events[-1]
        assert last.failed is not None, last
        return last.failed


async def collect(stream: AsyncIterator[GenerateEvent]) -> Answer:
    """Read a stream to its end."""
    return Answer([event async for event in stream])


async def ask(engine: Engine, prompt: str | None = "France is a country", **fields: Any) -> Answer:
    """Submit a greedy request and read its whole answer."""
    media: Sequence[bytes] = fields.pop("media", ())
    return await collect(engine.submit(request(prompt, **fields), media))
