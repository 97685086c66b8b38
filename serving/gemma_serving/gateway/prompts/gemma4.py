"""Gemma 4: `<|turn>user … <turn|>`, a system role of its own, thoughts in a channel, tools in their own
markers.

Source: ai.google.dev/gemma/docs/core/prompt-formatting-gemma4. Results of tools stand in the model's own
turn, which goes on after them.
"""

from __future__ import annotations

import json
from typing import Any

from gemma_serving.gateway.prompts.conversation import Call, Conversation, Media, Piece, Result, Text
from gemma_serving.gateway.tools.marked import GEMMA4
from gemma_serving.gateway.tools.notation import Notation, declaration

NO_THOUGHT = "<|channel>thought\n<channel|>"
"""An empty thought: what a model that was asked not to think writes first."""
_NOTATION = Notation(GEMMA4.quote)


class BarTurns:
    """Gemma 4's turns."""

    def render(self, conversation: Conversation) -> str:
        """The prompt, without BOS, up to where the model goes on."""
        text = _system(conversation)
        speaker = ""
        for turn in conversation.turns:
            for piece in turn.pieces:
                wanted = "model" if turn.role == "assistant" or isinstance(piece, Result) else "user"
                if wanted != speaker:
                    text += f"<turn|>\n<|turn>{wanted}\n" if speaker else f"<|turn>{wanted}\n"
                    speaker = wanted
                text += _piece(piece)
        if speaker == "model" and not isinstance(conversation.turns[-1].pieces[-1], Call):
            return text
        thought = "" if conversation.thinking else NO_THOUGHT
        return f"{text}<turn|>\n<|turn>model\n{thought}"


def _system(conversation: Conversation) -> str:
    think = "<|think|>\n" if conversation.thinking else ""
    tools = "".join(f"<|tool>{declaration(tool, _NOTATION)}<tool|>" for tool in conversation.tools)
    body = think + conversation.system + tools
    return f"<|turn>system\n{body}<turn|>\n" if body else ""


def _piece(piece: Piece) -> str:
    match piece:
        case Text():
            return piece.text
        case Media():
            return "<|image|>" if piece.kind == "image" else "<|audio|>"
        case Call():
            return f"<|tool_call>call:{piece.name}{_NOTATION.write(piece.arguments)}<tool_call|>"
        case Result():
            members = _NOTATION.members(response_object(piece.text))
            return f"<|tool_response>response:{piece.name}{{{members}}}<tool_response|>"


def response_object(text: str) -> dict[str, Any]:
    """What a tool answered as an object: a JSON object as it is, anything else as its `value`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {"value": text}
    return data if isinstance(data, dict) else {"value": text}
