"""The turn formats of the Gemma families, and which family uses which.

A prompt carries no BOS: the engine adds exactly one. Sources: the chat templates in the checkpoints'
`tokenizer_config.json` (Gemma 1 to 3n), ai.google.dev/gemma/docs/core/prompt-formatting-gemma4 (Gemma 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gemma_serving.gateway.prompts import gemma4
from gemma_serving.gateway.prompts.conversation import Call, Conversation, Media, Piece, Result, Text, Turn

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
        if conversation.system:
            body = rendered[0].removeprefix("<start_of_turn>user\n")
            joint = "\n\n" if body else ""
            rendered[0] = f"<start_of_turn>user\n{conversation.system}{joint}{body}"
        prompt = "<end_of_turn>\n".join(rendered)
        return prompt if conversation.continues else f"{prompt}<end_of_turn>\n<start_of_turn>model\n"

    def _turn(self, turn: Turn) -> str:
        role = "model" if turn.role == "assistant" else "user"
        return f"<start_of_turn>{role}\n{''.join(map(self._piece, turn.pieces))}"

    def _piece(self, piece: Piece) -> str:
        match piece:
            case Text():
                return piece.text
            case Media():
                return self.image if piece.kind == "image" else self.audio
            case Call():
                return f'{{"name": "{piece.name}", "parameters": {piece.arguments}}}\n'
            case Result():
                return f"Result of {piece.name}:\n{piece.text}\n"


_TEXT_ONLY = StartEndTurns(image="", audio="")
_FORMATS: dict[str, PromptFormat] = {
    "gemma1": _TEXT_ONLY,
    "gemma2": _TEXT_ONLY,
    "gemma3": StartEndTurns(image="<start_of_image>", audio=""),
    "gemma3n": StartEndTurns(image="<image_soft_token>", audio="<audio_soft_token>"),
    "gemma4": gemma4.BarTurns(),
    "shieldgemma": _TEXT_ONLY,
    "functiongemma": _TEXT_ONLY,
}


def format_for(family: str) -> PromptFormat:
    """Format of a family; raises ValueError with the known ones."""
    try:
        return _FORMATS[family]
    except KeyError:
        raise ValueError(f"no prompt format for family {family!r}; known: {', '.join(_FORMATS)}") from None
