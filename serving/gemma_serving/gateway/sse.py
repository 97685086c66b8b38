"""Server-sent events, byte by byte as OpenAI clients expect them."""

from __future__ import annotations

import json
from typing import Any

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    # nginx holds back server-sent events unless told not to.
    "x-accel-buffering": "no",
}
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: OpenAI clients ignore it, proxies count it as traffic."""
KEEP_ALIVE_SECONDS = 10.0
"""Silence after which a comment is sent: a third of the shortest idle limit met in the field (30 s, GKE)."""


def event(payload: dict[str, Any]) -> bytes:
    """One `data:` event."""
    return f"data: {json.dumps(payload, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()


class ContentEvents:
    """Content events of one choice: nearly all events of a stream, so all but the text is encoded once."""

    def __init__(self, envelope: dict[str, Any], index: int, usage: str) -> None:
        head = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)[:-1]
        self._head = f'data: {head},"choices":[{{"index":{index},"delta":{{"content":'
        self._tail = f'}},"logprobs":null,"finish_reason":null}}]{usage}}}\n\n'

    def text(self, text: str) -> bytes:
        """The event that carries `text`."""
        return f"{self._head}{json.dumps(text, ensure_ascii=False)}{self._tail}".encode()
