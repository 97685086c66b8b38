"""The turn formats of the Gemma families, and which family uses which.

A prompt carries no BOS: the engine adds exactly one. Sources: the chat templates in the checkpoints'
`tokenizer_config.json` (Gemma 1 to 3n), ai.google.dev/gemma/docs/core/prompt-formatting-gemma4 (Gemma 4).
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gemma_serving.gateway.control_tokens import inert
from gemma_serving.gateway.prompts import functiongemma, gemma4
from gemma_serving.gateway.prompts.checkpoint import find_template
from gemma_serving.gateway.prompts.conversation import Call, Conversation, Media, Piece, Result, Text, Turn
from gemma_serving.gateway.prompts.template import CheckpointTemplate
from gemma_serving.gateway.tools.prompted import declared

log = logging.getLogger(__name__)

BOS = "<bos>"
BOS_ID = 2
"""Token id of BOS in every Gemma (facts: main table)."""


class PromptFormat(Protocol):
    """How one family wants its conversations."""

    def render(self, conversation: Conversation) -> str:
        """The prompt, without BOS, up to where the model goes on."""
        ...


@dataclass(frozen=True, slots=True)
class StartEndTurns:
    """Gemma 1 to 3n: `<start_of_turn>user … <end_of_turn>`; instructions are folded into the first user
    turn.
    """

    image: str
    audio: str

    def render(self, conversation: Conversation) -> str:
        """The prompt, without BOS, up to where the model goes on."""
        rendered = [self._turn(turn) for turn in conversation.turns]
        instructions = [conversation.system, declared(conversation.tools)]
        body = rendered[0].removeprefix("<start_of_turn>user\n")
        rendered[0] = "<start_of_turn>user\n" + "\n\n".join(filter(None, [*instructions, body]))
        prompt = "<end_of_turn>\n".join(rendered)
        return prompt if conversation.continues else f"{prompt}<end_of_turn>\n<start_of_turn>model\n"

    def _turn(self, turn: Turn) -> str:
        role = "model" if turn.role == "assistant" else "user"
        return f"<start_of_turn>{role}\n{_spaced(turn.pieces, self._piece)}"

    def _piece(self, piece: Piece) -> str:
        match piece:
            case Text():
                return piece.text
            case Media():
                return self.image if piece.kind == "image" else self.audio
            case Call():
                return inert(
                    json.dumps({"name": piece.name, "parameters": piece.arguments}, ensure_ascii=False)
                )
            case Result():
                return f"```tool_output\n{inert(piece.text)}\n```"


def _spaced(pieces: Sequence[Piece], write: Callable[[Piece], str]) -> str:
    """Pieces one after another; calls and results on lines of their own."""
    text = write(pieces[0])
    for before, piece in itertools.pairwise(pieces):
        text += (
            "\n" if isinstance(before, Call | Result) or isinstance(piece, Call | Result) else ""
        ) + write(piece)
    return text


_TEXT_ONLY = StartEndTurns(image="", audio="")
_FORMATS: dict[str, PromptFormat] = {
    "gemma1": _TEXT_ONLY,
    "gemma2": _TEXT_ONLY,
    "gemma3": StartEndTurns(image="<start_of_image>", audio=""),
    "gemma3n": StartEndTurns(image="<image_soft_token>", audio="<audio_soft_token>"),
    "gemma4": gemma4.BarTurns(),
    "shieldgemma": _TEXT_ONLY,
    "functiongemma": functiongemma.FunctionTurns(),
}


def format_for(family: str) -> PromptFormat:
    """Format of a family; raises ValueError with the known ones."""
    try:
        return _FORMATS[family]
    except KeyError:
        raise ValueError(f"no prompt format for family {family!r}; known: {', '.join(_FORMATS)}") from None


def format_of(family: str, weights: Path) -> PromptFormat:
    """The checkpoint's own template where it brings one that compiles, else the family's format."""
    own = format_for(family)
    source = find_template(weights)
    if source is None:
        return own
    try:
        return CheckpointTemplate(source, family)
    except ValueError as error:
        log.warning("%s; the family's format is used", error)
        return own
