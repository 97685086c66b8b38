"""Gemma 4: `<|turn>user … <turn|>`, a system role of its own, thoughts in a channel, tools in their own
markers.

Source: ai.google.dev/gemma/docs/core/prompt-formatting-gemma4.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemma_serving.gateway.prompts.conversation import Call, Conversation, Media, Piece, Result, Text, Turn

NO_THOUGHT = "<|channel>thought\n<channel|>"
"""An empty thought: what a model that was asked not to think writes first."""


@dataclass(frozen=True, slots=True)
class BarTurns:
    """Gemma 4's turns."""

    def render(self, conversation: Conversation) -> str:
        """The prompt, without BOS, up to where the model goes on."""
        parts = [self._system(conversation)]
        parts += [self._turn(turn) for turn in conversation.turns]
        prompt = "<turn|>\n".join(filter(None, parts))
        if conversation.continues:
            return prompt
        return f"{prompt}<turn|>\n<|turn>model\n"

    def _system(self, conversation: Conversation) -> str:
        think = "<|think|>\n" if conversation.thinking else ""
        body = think + conversation.system
        return f"<|turn>system\n{body}" if body else ""

    def _turn(self, turn: Turn) -> str:
        role = "model" if turn.role == "assistant" else "user"
        return f"<|turn>{role}\n{''.join(map(self._piece, turn.pieces))}"

    def _piece(self, piece: Piece) -> str:
        match piece:
            case Text():
                return piece.text
            case Media():
                return "<|image|>" if piece.kind == "image" else "<|audio|>"
            case Call():
                return f"<|tool_call>call:{piece.name}{piece.arguments}<tool_call|>"
            case Result():
                return (
                    f'<|tool_response>response:{piece.name}{{value:<|"|>{piece.text}<|"|>}}<tool_response|>'
                )
