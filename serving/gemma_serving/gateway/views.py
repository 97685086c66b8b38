"""How the two endpoints word what was generated: events of a stream, or one body."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gemma_serving.contract import Delta, Finished, TokenLogprob
from gemma_serving.gateway import sse
from gemma_serving.gateway.parts import (
    CallArguments,
    CallStart,
    Content,
    OutputParser,
    Part,
    Thought,
    Usage,
    chat_logprob,
    finish_reason,
)


class View(Protocol):
    """One request's answer in one endpoint's words."""

    def first(self) -> bytes:
        """Events before any text."""
        ...

    def delta(self, index: int, delta: Delta) -> bytes:
        """Events for more text of a choice."""
        ...

    def finished(self, index: int, finished: Finished) -> bytes:
        """Events for the end of a choice."""
        ...

    def last(self) -> bytes:
        """Events after every choice ended."""
        ...

    def body(self) -> dict[str, Any]:
        """The whole answer, once every choice ended."""
        ...

    def texts(self) -> list[str]:
        """The text of each choice, once it ended."""
        ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every chunk and body repeats."""

    id: str
    model: str
    fingerprint: str
    wants_usage: bool
    choices_per_prompt: int = 1
    created: int = field(default_factory=lambda: int(time.time()))

    def of(self, kind: str) -> dict[str, Any]:
        """The repeated fields for an object of `kind`."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def chunk(self, kind: str, choices: list[dict[str, Any]]) -> bytes:
        """One event with `choices`."""
        usage = {"usage": None} if self.wants_usage else {}
        return sse.event({**self.of(kind), "choices": choices, **usage})

    def usage(self, kind: str, usage: Usage) -> bytes:
        """The usage event, if it was asked for."""
        if not self.wants_usage:
            return b""
        return sse.event({**self.of(kind), "choices": [], "usage": usage.to_json()})


@dataclass(slots=True)
class _ChatChoice:
    parser: OutputParser
    content: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, object]] = field(default_factory=list)
    reason: str = "stop"

    def keep(self, part: Part) -> None:
        match part:
            case Content():
                self.content.append(part.text)
            case Thought():
                self.thoughts.append(part.text)
            case CallStart():
                function = {"name": part.name, "arguments": ""}
                self.calls.append({"id": part.id, "type": "function", "function": function})
            case CallArguments():
                self.calls[part.index]["function"]["arguments"] += part.json


class ChatView:
    """`POST /v1/chat/completions`."""

    CHUNK = "chat.completion.chunk"

    def __init__(self, envelope: Envelope, parsers: Sequence[OutputParser], logprobs: bool) -> None:
        self._envelope = envelope
        self._choices = [_ChatChoice(parser) for parser in parsers]
        self._usage = Usage()
        self._wants_logprobs = logprobs
        usage = ',"usage":null' if envelope.wants_usage else ""
        self._heads = [
            sse.ContentEvents(envelope.of(self.CHUNK), index, usage) for index in range(len(parsers))
        ]

    def first(self) -> bytes:
        """The role of each choice."""
        opening = {"role": "assistant", "content": ""}
        return b"".join(self._event(index, opening) for index in range(len(self._choices)))

    def delta(self, index: int, delta: Delta) -> bytes:
        """Events for more text of a choice."""
        choice = self._choices[index]
        parts = choice.parser.feed(delta.text)
        if self._wants_logprobs and delta.logprobs:
            return self._with_logprobs(index, parts, delta.logprobs)
        return b"".join(self._part(index, part) for part in parts)

    def finished(self, index: int, finished: Finished) -> bytes:
        """Text held back, then the finish reason."""
        choice = self._choices[index]
        held = b"".join(self._part(index, part) for part in choice.parser.finish())
        choice.reason = finish_reason(finished, bool(choice.calls))
        self._usage.add(finished, index % self._envelope.choices_per_prompt == 0)
        return held + self._event(index, {}, choice.reason)

    def last(self) -> bytes:
        """The usage event, if it was asked for."""
        return self._envelope.usage(self.CHUNK, self._usage)

    def body(self) -> dict[str, Any]:
        """The whole answer."""
        choices = [self._whole(index) for index in range(len(self._choices))]
        return {**self._envelope.of("chat.completion"), "choices": choices, "usage": self._usage.to_json()}

    def texts(self) -> list[str]:
        """The text of each choice."""
        return ["".join(choice.content) for choice in self._choices]

    def _whole(self, index: int) -> dict[str, Any]:
        choice = self._choices[index]
        text = "".join(choice.content)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if choice.thoughts:
            message["reasoning_content"] = "".join(choice.thoughts)
        if choice.calls:
            message |= {"content": text or None, "tool_calls": choice.calls}
        logprobs = {"content": choice.logprobs, "refusal": None} if self._wants_logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.reason}

    def _part(self, index: int, part: Part) -> bytes:
        self._choices[index].keep(part)
        match part:
            case Content():
                return self._heads[index].text(part.text)
            case Thought():
                return self._event(index, {"reasoning_content": part.text})
            case CallStart():
                call = {"index": part.index, "id": part.id, "type": "function"}
                return self._event(
                    index, {"tool_calls": [{**call, "function": {"name": part.name, "arguments": ""}}]}
                )
            case CallArguments():
                function = {"arguments": part.json}
                return self._event(index, {"tool_calls": [{"index": part.index, "function": function}]})

    def _with_logprobs(self, index: int, parts: list[Part], logprobs: list[TokenLogprob]) -> bytes:
        """One event that carries the content and the log probabilities of its tokens."""
        choice = self._choices[index]
        listed = [chat_logprob(item) for item in logprobs]
        choice.logprobs += listed
        text = "".join(part.text for part in parts if isinstance(part, Content))
        others = b"".join(self._part(index, part) for part in parts if not isinstance(part, Content))
        choice.keep(Content(text))
        choice_json = {
            "index": index,
            "delta": {"content": text},
            "logprobs": {"content": listed, "refusal": None},
            "finish_reason": None,
        }
        return others + self._envelope.chunk(self.CHUNK, [choice_json])

    def _event(self, index: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._envelope.chunk(self.CHUNK, [choice])


@dataclass(slots=True)
class _TextChoice:
    text: list[str] = field(default_factory=list)
    offset: int = 0
    logprobs: dict[str, list[Any]] | None = None
    reason: str = "stop"


class CompletionView:
    """`POST /v1/completions`."""

    KIND = "text_completion"

    def __init__(self, envelope: Envelope, echoes: Sequence[str], logprobs: int | None) -> None:
        self._envelope = envelope
        self._echoes = echoes
        self._logprobs = logprobs
        self._choices = [_TextChoice(text=[echo] if echo else [], offset=len(echo)) for echo in echoes]
        self._usage = Usage()

    def first(self) -> bytes:
        """The prompt, where it is to be echoed."""
        return b"".join(self._event(index, echo) for index, echo in enumerate(self._echoes) if echo)

    def delta(self, index: int, delta: Delta) -> bytes:
        """Events for more text of a choice."""
        choice = self._choices[index]
        listed = None
        if self._logprobs is not None and delta.logprobs:
            listed = _legacy_logprobs(delta.logprobs, choice.offset)
            choice.logprobs = _appended(choice.logprobs, listed)
        choice.text.append(delta.text)
        choice.offset += len(delta.text)
        return self._event(index, delta.text, listed)

    def finished(self, index: int, finished: Finished) -> bytes:
        """The finish reason."""
        choice = self._choices[index]
        choice.reason = finish_reason(finished, made_calls=False)
        self._usage.add(finished, index % self._envelope.choices_per_prompt == 0)
        return self._event(index, "", None, choice.reason)

    def last(self) -> bytes:
        """The usage event, if it was asked for."""
        return self._envelope.usage(self.KIND, self._usage)

    def body(self) -> dict[str, Any]:
        """The whole answer."""
        choices = [
            {"index": i, "text": "".join(c.text), "logprobs": c.logprobs, "finish_reason": c.reason}
            for i, c in enumerate(self._choices)
        ]
        return {**self._envelope.of(self.KIND), "choices": choices, "usage": self._usage.to_json()}

    def texts(self) -> list[str]:
        """The text of each choice."""
        return ["".join(choice.text) for choice in self._choices]

    def _event(self, index: int, text: str, logprobs: Any = None, reason: str | None = None) -> bytes:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return self._envelope.chunk(self.KIND, [choice])


def _legacy_logprobs(items: list[TokenLogprob], offset: int) -> dict[str, list[Any]]:
    offsets = []
    for item in items:
        offsets.append(offset)
        offset += len(item.token)
    return {
        "tokens": [item.token for item in items],
        "token_logprobs": [item.logprob for item in items],
        "top_logprobs": [{top.token: top.logprob for top in item.top} for item in items],
        "text_offset": offsets,
    }


def _appended(kept: dict[str, list[Any]] | None, more: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return more if kept is None else {name: kept[name] + more[name] for name in kept}
