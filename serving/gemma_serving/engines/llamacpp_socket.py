"""llama.cpp's own HTTP routes, over the Unix socket that stands in for its port.

Two things are only there: counting tokens without generating, and completions with images or audio (the
library's in-process completions take text or token ids).
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gemma_serving.engines.llamacpp_translation import failure_of

TIMEOUT_SECONDS: Final = 600.0
"""Longest silence: a long prompt with images goes by without a word."""
EVENT_PREFIX: Final = b"data: "


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class LlamaCppSocket:
    """A client of one llama.cpp. Its methods block, and may be called from any thread."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text, BOS included; EngineFailureError if llama.cpp refuses."""
        connection = _SocketConnection(self._path)
        try:
            body = json.dumps({"content": text, "add_special": True, "parse_special": True})
            connection.request("POST", "/tokenize", body, self._headers)
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise failure_of(answer["error"])
        tokens: list[int] = answer["tokens"]
        return tokens

    def complete(self, body: Mapping[str, Any], on_chunk: Callable[[dict[str, Any]], bool]) -> None:
        """Stream a completion in the form of the in-process ones; `on_chunk` returns true to hang up."""
        connection = _SocketConnection(self._path)
        try:
            connection.request("POST", "/completion", json.dumps(body), self._headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                on_chunk(json.loads(response.read()))
                return
            for line in response:
                if not line.startswith(EVENT_PREFIX):
                    continue
                if on_chunk(as_in_process(json.loads(line[len(EVENT_PREFIX) :]))):
                    return
        finally:
            connection.close()


def as_in_process(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk of `/completion` in the shape of the library's in-process completions."""
    if "error" in chunk:
        return chunk
    ended = bool(chunk.get("stop"))
    reason = "length" if chunk.get("stop_type") == "limit" else "stop"
    timings = chunk.get("timings") or {}
    usage = {
        "completion_tokens": chunk.get("tokens_predicted", 0),
        "prompt_tokens_details": {"cached_tokens": timings.get("cache_n", 0)},
    }
    choice = {
        "text": chunk.get("content", ""),
        "logprobs": {"content": chunk.get("completion_probabilities") or []},
        "finish_reason": reason if ended else None,
    }
    return {
        "choices": [choice],
        "usage": usage if ended else None,
        "timings": timings,
        "prompt_progress": chunk.get("prompt_progress"),
    }
