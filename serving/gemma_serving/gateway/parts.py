"""What an answer consists of, whichever way it is delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gemma_serving.contract import Finished, FinishReason, TokenLogprob


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Text of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's JSON arguments."""

    index: int
    json: str


Part = Content | Thought | CallStart | CallArguments


class OutputParser(Protocol):
    """Turns the model's text, however it is cut, into parts."""

    def feed(self, text: str) -> list[Part]:
        """Parts that are certain by now; the rest is held back."""
        ...

    def finish(self) -> list[Part]:
        """What was held back."""
        ...


class PlainText:
    """Everything is content."""

    def feed(self, text: str) -> list[Part]:
        """The text as it is."""
        return [Content(text)] if text else []

    def finish(self) -> list[Part]:
        """Nothing is held back."""
        return []


@dataclass(slots=True)
class Usage:
    """Tokens of a request, added up over its sequences."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def add(self, finished: Finished, count_prompt: bool) -> None:
        """Count one sequence; the prompt once per prompt, not once per choice."""
        self.completion_tokens += finished.completion_tokens
        if count_prompt:
            self.prompt_tokens += finished.prompt_tokens
            self.cached_tokens += finished.cached_tokens

    def to_json(self) -> dict[str, object]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


def finish_reason(finished: Finished, made_calls: bool) -> str:
    """OpenAI's finish reason; a call that was cut off is `length`."""
    if finished.reason == FinishReason.LENGTH:
        return "length"
    return "tool_calls" if made_calls else "stop"


def chat_logprob(item: TokenLogprob) -> dict[str, object]:
    """One token in chat's `logprobs.content`."""
    top = [{"token": t.token, "logprob": t.logprob, "bytes": list(t.token.encode())} for t in item.top]
    token = {"token": item.token, "logprob": item.logprob, "bytes": list(item.token.encode())}
    return {**token, "top_logprobs": top}
