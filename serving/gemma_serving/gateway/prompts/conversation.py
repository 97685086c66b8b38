"""A conversation as turns that alternate, whatever order and shape the messages came in.

The same rules for every family and engine:
- system and developer messages, wherever they stand, are joined in order and go first;
- neighbours of one role are merged with a newline; empty ones between vanish;
- a conversation that starts with the assistant gets an empty user turn before it;
- a last assistant message is continued (prefill), unless it made tool calls;
- past thoughts are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gemma_serving.gateway.control_tokens import inert
from gemma_serving.gateway.errors import invalid
from gemma_serving.gateway.schema import chat

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    """Words, with control tokens already broken up."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """A place for an image or a sound."""

    kind: Literal["image", "audio"]
    source: str
    """A `data:` or `https:` URL, or base64 for sound."""
    param: str
    """Where in the request it stands."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the assistant made."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered, as the caller sent it."""

    name: str
    text: str


Piece = Text | Media | Call | Result


@dataclass(frozen=True, slots=True)
class Turn:
    """Everything one side says before the other answers."""

    role: Role
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a format renders."""

    system: str
    """Joined instructions; empty if there are none."""
    turns: tuple[Turn, ...]
    """Alternating, the first one the user's."""
    tools: tuple[dict[str, Any], ...] = ()
    """Functions that may be called: name, description, parameters."""
    thinking: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    """Other `chat_template_kwargs`, for a checkpoint's own template."""

    @property
    def continues(self) -> bool:
        """Whether the model goes on with the assistant's last words."""
        last = self.turns[-1]
        return last.role == "assistant" and isinstance(last.pieces[-1], Text)

    @property
    def media(self) -> list[Media]:
        """Images and sounds in prompt order."""
        return [piece for turn in self.turns for piece in turn.pieces if isinstance(piece, Media)]


def conversation_from(messages: Sequence[chat.Message]) -> Conversation:
    """Messages of a request; raises ApiError that names the message's index."""
    system: list[str] = []
    turns: list[Turn] = []
    names: dict[str, str] = {}
    for index, message in enumerate(messages):
        if isinstance(message, chat.SystemMessage):
            system += filter(None, [_system_text(message, index)])
            continue
        if isinstance(message, chat.AssistantMessage):
            names |= {call.id: call.function.name for call in message.tool_calls or ()}
        pieces = tuple(_pieces(message, names, index))
        role: Role = "assistant" if isinstance(message, chat.AssistantMessage) else "user"
        _append(turns, Turn(role, pieces))
    if not turns or turns[0].role == "assistant":
        turns.insert(0, Turn("user", (Text(""),)))
    return Conversation("\n\n".join(system), tuple(turns))


def texts_of(messages: Sequence[chat.Message]) -> tuple[list[str], str]:
    """All that was said, and the user's last words."""
    texts: list[str] = []
    question = ""
    for message in messages:
        content = message.content or ""
        parts = (
            [content]
            if isinstance(content, str)
            else [p.text for p in content if isinstance(p, chat.TextPart)]
        )
        texts += parts
        if isinstance(message, chat.UserMessage):
            question = "\n".join(parts)
    return texts, question


def _append(turns: list[Turn], turn: Turn) -> None:
    if not turns or turns[-1].role != turn.role:
        turns.append(turn)
        return
    before = turns[-1].pieces
    turns[-1] = Turn(turn.role, tuple(_joined(before, turn.pieces)))


def _joined(left: tuple[Piece, ...], right: tuple[Piece, ...]) -> Iterable[Piece]:
    if isinstance(left[-1], Text) and isinstance(right[0], Text):
        texts = [piece.text for piece in (left[-1], right[0]) if piece.text.strip()]
        return (*left[:-1], Text("\n".join(texts)), *right[1:])
    return (*left, *right)


def _system_text(message: chat.SystemMessage, index: int) -> str:
    if isinstance(message.content, str):
        return inert(message.content.strip())
    texts = [_plain_text(part, index) for part in message.content]
    return inert("\n".join(texts).strip())


def _plain_text(part: chat.Part, index: int) -> str:
    match part:
        case chat.TextPart():
            return part.text
        case chat.RefusalPart():
            return part.refusal
        case _:
            role = "a system or tool message"
            raise invalid(
                f"messages.{index}.content: {role} holds text only, not {part.type}", f"messages.{index}"
            )


def _pieces(
    message: chat.UserMessage | chat.AssistantMessage | chat.ToolMessage, names: dict[str, str], index: int
) -> Iterable[Piece]:
    if isinstance(message, chat.ToolMessage):
        text = (
            message.content
            if isinstance(message.content, str)
            else "\n".join(_plain_text(p, index) for p in message.content)
        )
        name = names.get(message.tool_call_id) or message.name
        if name is None:
            param = f"messages.{index}.tool_call_id"
            raise invalid(
                f"{param}: no earlier assistant message made the call {message.tool_call_id!r}", param
            )
        return [Result(name, text)]
    pieces = _content_pieces(message.content, index)
    if isinstance(message, chat.AssistantMessage):
        if message.refusal and not pieces:
            pieces = [Text(inert(message.refusal))]
        calls = [
            _call(call, f"messages.{index}.tool_calls.{i}") for i, call in enumerate(message.tool_calls or ())
        ]
        pieces = [piece for piece in pieces if piece != Text("")] if calls else pieces
        return [*pieces, *calls] or [Text("")]
    return pieces or [Text("")]


def _call(call: chat.ToolCall, param: str) -> Call:
    try:
        arguments = json.loads(call.function.arguments or "{}", strict=False)
    except (ValueError, RecursionError) as error:
        raise invalid(
            f"{param}.function.arguments: not JSON: {error}", f"{param}.function.arguments"
        ) from error
    if not isinstance(arguments, dict):
        raise invalid(f"{param}.function.arguments: must be a JSON object", f"{param}.function.arguments")
    return Call(call.id, call.function.name, arguments)


def _content_pieces(content: chat.Content | None, index: int) -> list[Piece]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(inert(content.strip()))]
    pieces: list[Piece] = []
    for place, part in enumerate(content):
        param = f"messages.{index}.content.{place}"
        match part:
            case chat.ImagePart():
                pieces.append(Media("image", part.image_url.url, param))
            case chat.AudioPart():
                pieces.append(Media("audio", part.input_audio.data, param))
            case _:
                text = Text(inert(_plain_text(part, index).strip()))
                if pieces and isinstance(pieces[-1], Text):
                    pieces[-1] = Text(f"{pieces[-1].text}\n{text.text}")
                else:
                    pieces.append(text)
    return pieces
