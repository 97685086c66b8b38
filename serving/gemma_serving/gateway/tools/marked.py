"""Answers with markers: Gemma 4's thoughts and tool calls, FunctionGemma's calls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from gemma_serving.gateway.parts import Content, Part, Thought
from gemma_serving.gateway.tools.calls import CallWriter
from gemma_serving.gateway.tools.holding import first_of, safe_length
from gemma_serving.gateway.tools.notation import Notation, NotationError

_CALL = re.compile(r"\s*call:\s*([\w.-]+)\s*(?=\{)")


@dataclass(frozen=True, slots=True)
class Markers:
    """One family's markers."""

    call_open: str
    call_close: str
    quote: str
    thought_open: str | None = None
    thought_close: str | None = None
    noise: tuple[str, ...] = ()
    """Markers that mean nothing in an answer and are never shown."""


GEMMA4 = Markers(
    call_open="<|tool_call>",
    call_close="<tool_call|>",
    quote='<|"|>',
    thought_open="<|channel>",
    thought_close="<channel|>",
    noise=("<|tool_response>", "<tool_response|>", "<turn|>", "<|think|>", "<eos>"),
)
FUNCTION_GEMMA = Markers(
    call_open="<start_function_call>",
    call_close="<end_function_call>",
    quote="<escape>",
    noise=("<start_function_response>", "<end_function_response>", "<end_of_turn>", "<eos>"),
)


class _Mode(Enum):
    TEXT = 1
    THOUGHT = 2
    CALL = 3


class MarkedAnswer:
    """Separates content, thoughts and calls. Text between markers flows; a call waits until it is
    complete.
    """

    def __init__(self, markers: Markers, writer: CallWriter) -> None:
        self._markers = markers
        self._writer = writer
        self._notation = Notation(markers.quote)
        self._mode = _Mode.TEXT
        self._held = ""
        self._channel_named = False
        opens = (markers.call_open, markers.thought_open, markers.thought_close, *markers.noise)
        self._text_markers = tuple(filter(None, opens))

    def feed(self, text: str) -> list[Part]:
        """Parts that are certain by now."""
        self._held += text
        parts: list[Part] = []
        while self._step(parts):
            pass
        return _joined(parts)

    def finish(self) -> list[Part]:
        """What was held back; a call that was cut off is dropped, it has no valid JSON."""
        held, self._held = self._held, ""
        match self._mode:
            case _Mode.TEXT:
                return [Content(held)] if held else []
            case _Mode.THOUGHT:
                return [Thought(held)] if held and self._channel_named else []
            case _Mode.CALL:
                return []

    def _step(self, parts: list[Part]) -> bool:
        """Take one piece off the held text; False when more must come first."""
        match self._mode:
            case _Mode.TEXT:
                return self._text(parts)
            case _Mode.THOUGHT:
                return self._thought(parts)
            case _Mode.CALL:
                return self._call(parts)

    def _text(self, parts: list[Part]) -> bool:
        hit = first_of(self._held, self._text_markers)
        if hit is None:
            self._release(parts, safe_length(self._held, self._text_markers))
            return False
        position, marker = hit
        self._release(parts, position)
        self._held = self._held[len(marker) :]
        if marker == self._markers.call_open:
            self._mode = _Mode.CALL
        elif marker == self._markers.thought_open:
            self._mode, self._channel_named = _Mode.THOUGHT, False
        return True

    def _release(self, parts: list[Part], length: int) -> None:
        if length:
            parts.append(Content(self._held[:length]))
            self._held = self._held[length:]

    def _thought(self, parts: list[Part]) -> bool:
        close = self._markers.thought_close
        assert close is not None
        hit = self._held.find(close)
        if not self._channel_named:
            # The channel's name stands on a line of its own.
            line = self._held.find("\n")
            if line >= 0 and (hit < 0 or line < hit):
                self._held, self._channel_named = self._held[line + 1 :], True
                return True
        if hit < 0:
            length = safe_length(self._held, [close]) if self._channel_named else 0
            if length:
                parts.append(Thought(self._held[:length]))
                self._held = self._held[length:]
            return False
        if hit and self._channel_named:
            parts.append(Thought(self._held[:hit]))
        self._held = self._held[hit + len(close) :]
        self._mode = _Mode.TEXT
        return True

    def _call(self, parts: list[Part]) -> bool:
        end = self._call_end()
        if end is None:
            return False
        body = self._held[:end]
        self._held = self._held[end + len(self._markers.call_close) :]
        self._mode = _Mode.TEXT
        parts += self._read(body)
        return True

    def _call_end(self) -> int | None:
        """Where the closing marker stands, outside of strings."""
        at, quote = 0, self._markers.quote
        while True:
            close = self._held.find(self._markers.call_close, at)
            if close < 0:
                return None
            opened = self._held.find(quote, at)
            if opened < 0 or opened > close:
                return close
            shut = self._held.find(quote, opened + len(quote))
            if shut < 0:
                return None
            at = shut + len(quote)

    def _read(self, body: str) -> list[Part]:
        head = _CALL.match(body)
        if head is not None:
            try:
                return self._writer.write(head.group(1), self._notation.read_object(body[head.end() :]))
            except NotationError:
                pass
        # The caller sees what the model tried to say, without the string token.
        return [Content(body.replace(self._markers.quote, '"'))]


def _joined(parts: list[Part]) -> list[Part]:
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Content) and isinstance(last, Content):
            joined[-1] = Content(last.text + part.text)
        elif isinstance(part, Thought) and isinstance(last, Thought):
            joined[-1] = Thought(last.text + part.text)
        else:
            joined.append(part)
    return joined
