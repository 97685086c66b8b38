"""A checkpoint's own chat template, run in Jinja's sandbox.

It gets turns that alternate already, texts whose control tokens are broken up already, and no BOS to print.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gemma_serving.gateway.control_tokens import inert
from gemma_serving.gateway.errors import invalid
from gemma_serving.gateway.prompts.conversation import Call, Conversation, Media, Piece, Result, Text, Turn
from gemma_serving.gateway.tools.prompted import declared

BOS = "<bos>"
NATIVE_SYSTEM = frozenset(("gemma4", "functiongemma"))
"""Families whose templates know a system or developer turn and tools."""


class CheckpointTemplate:
    """Renders with one template; raises ValueError from the constructor if it does not compile."""

    def __init__(self, source: str, family: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ValueError(f"the checkpoint's chat template does not compile: {error}") from error
        self._native = family in NATIVE_SYSTEM

    def render(self, conversation: Conversation) -> str:
        """The prompt, without BOS, up to where the model goes on; raises ApiError where the template
        refuses.
        """
        continues = conversation.continues
        tools = [{"type": "function", "function": _inert(tool)} for tool in conversation.tools]
        options = {key: value for key, value in conversation.options.items() if key.isidentifier()}
        try:
            text = self._template.render(
                **{
                    **options,
                    "messages": self._messages(conversation),
                    "tools": tools if tools and self._native else None,
                    "add_generation_prompt": not continues,
                    "enable_thinking": conversation.thinking,
                    "bos_token": "",
                    "eos_token": "<eos>",
                }
            )
        except (TemplateError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise invalid(f"messages: the model's chat template refuses them: {error}", "messages") from error
        while text.startswith(BOS):
            text = text.removeprefix(BOS)
        return _cut_after(text, conversation.turns[-1]) if continues else text

    def _messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        messages = [message for turn in conversation.turns for message in _messages_of(turn)]
        system = conversation.system
        if self._native:
            return [{"role": "system", "content": system}, *messages] if system else messages
        folded = "\n\n".join(filter(None, [system, declared(conversation.tools)]))
        if folded:
            first = messages[0]["content"]
            text = {"type": "text", "text": f"{folded}\n\n"}
            messages[0]["content"] = f"{folded}\n\n{first}" if isinstance(first, str) else [text, *first]
        return messages


def _messages_of(turn: Turn) -> list[dict[str, Any]]:
    results = [piece for piece in turn.pieces if isinstance(piece, Result)]
    others = [piece for piece in turn.pieces if not isinstance(piece, Result)]
    messages: list[dict[str, Any]] = [
        {"role": "tool", "name": piece.name, "content": inert(piece.text)} for piece in results
    ]
    if others:
        calls = [_call(piece) for piece in others if isinstance(piece, Call)]
        content = _content([piece for piece in others if not isinstance(piece, Call)])
        messages.append({"role": turn.role, "content": content, **({"tool_calls": calls} if calls else {})})
    return messages


def _content(pieces: list[Piece]) -> str | list[dict[str, str]]:
    texts = [piece.text for piece in pieces if isinstance(piece, Text)]
    if len(texts) == len(pieces):
        return "".join(texts)
    return [{"type": "text", "text": p.text} if isinstance(p, Text) else {"type": _kind(p)} for p in pieces]


def _kind(piece: Piece) -> str:
    return piece.kind if isinstance(piece, Media) else "text"


def _call(piece: Call) -> dict[str, Any]:
    function = {"name": piece.name, "arguments": _inert(piece.arguments)}
    return {"id": piece.id, "type": "function", "function": function}


def _inert(value: Any) -> Any:
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, Mapping):
        return {inert(str(key)): _inert(item) for key, item in value.items()}
    return [_inert(item) for item in value] if isinstance(value, list) else value


def _cut_after(text: str, turn: Turn) -> str:
    """The prompt up to the last words of the assistant, which the model continues."""
    last = turn.pieces[-1]
    words = last.text.strip() if isinstance(last, Text) else ""
    position = text.rfind(words)
    return text[: position + len(words)] if words and position >= 0 else text


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
