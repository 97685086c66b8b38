"""Text of a caller never opens or closes a turn: control tokens in it are broken up.

The engine tokenizes one text in which the format's own markers count as control tokens. A zero-width space
after the first character of a marker that a caller typed leaves it readable, and no longer one token.
"""

from __future__ import annotations

import re

BREAK = "\u200b"
"""ZERO WIDTH SPACE: no marker of any Gemma contains it."""

# Gemma 1 to 3n: gemma/gm/text/_tokenizer.py of PyPI's `gemma` 4.0.1. Gemma 4: every marker has a bar beside
# a bracket (ai.google.dev/gemma/docs/core/prompt-formatting-gemma4). `<__media__>` is llama.cpp's own
# marker for an image.
_MARKER = re.compile(
    r"<(?=(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token"
    r"|start_of_audio|end_of_audio|audio_soft_token|start_function_declaration|end_function_declaration"
    r"|start_function_call|end_function_call|start_function_response|end_function_response|escape|loc\d{4}|seg\d{3}"
    r"|unused\d{1,4}|__media__|2mass|\|[^<>\s|\u200b]{1,32}\|?|[^<>\s|\u200b]{1,32}\|)>)"
    r"|\[(?=(?:@BOS@|multimodal|toxicity=0)\])"
    r"|<(?=\|\"\|>)"
)


def inert(text: str) -> str:
    """`text` with every control token broken up; other text is left as it is."""
    if "<" not in text and "[" not in text:
        return text
    return _MARKER.sub(lambda match: match.group() + BREAK, text)
