"""FunctionGemma: Gemma 3's turns, functions declared in a developer turn, calls and results in their own
markers.

Source: ai.google.dev/gemma/docs/functiongemma/formatting-and-best-practices.
"""

from __future__ import annotations

from gemma_serving.gateway.prompts.conversation import Call, Conversation, Media, Piece, Result, Text
from gemma_serving.gateway.prompts.gemma4 import response_object
from gemma_serving.gateway.tools.marked import FUNCTION_GEMMA
from gemma_serving.gateway.tools.notation import Notation, declaration

DEVELOPER = "You are a model that can do function calling with the following functions"
"""What the model was trained to read before its functions."""
_NOTATION = Notation(FUNCTION_GEMMA.quote)


class FunctionTurns:
    """FunctionGemma's turns."""

    def render(self, conversation: Conversation) -> str:
        """The prompt, without BOS, up to where the model goes on."""
        text = _developer(conversation)
        speaker = ""
        for turn in conversation.turns:
            for piece in turn.pieces:
                wanted = "model" if turn.role == "assistant" or isinstance(piece, Result) else "user"
                if wanted != speaker:
                    text += ("<end_of_turn>\n" if speaker else "") + f"<start_of_turn>{wanted}\n"
                    speaker = wanted
                text += _piece(piece)
        if speaker == "model" and not isinstance(conversation.turns[-1].pieces[-1], Call):
            return text
        return f"{text}<end_of_turn>\n<start_of_turn>model\n"


def _developer(conversation: Conversation) -> str:
    declared = "".join(
        f"<start_function_declaration>{declaration(tool, _NOTATION)}<end_function_declaration>"
        for tool in conversation.tools
    )
    lines = [conversation.system, DEVELOPER + declared if declared else ""]
    body = "\n".join(filter(None, lines))
    return f"<start_of_turn>developer\n{body}<end_of_turn>\n" if body else ""


def _piece(piece: Piece) -> str:
    match piece:
        case Text():
            return piece.text
        case Media():
            return ""
        case Call():
            arguments = _NOTATION.write(piece.arguments)
            return f"<start_function_call>call:{piece.name}{arguments}<end_function_call>"
        case Result():
            members = _NOTATION.members(response_object(piece.text))
            return f"<start_function_response>response:{piece.name}{{{members}}}<end_function_response>"
