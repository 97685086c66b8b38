"""Tokens of the Gemma families that every engine must treat alike.

Sources: the families' tokenizer_config.json and generation_config.json; Google's "prompt formatting" pages
for Gemma 3 and Gemma 4 (ai.google.dev/gemma/docs/core).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

BOS_TEXT: Final = "<bos>"
BOS_ID: Final = 2
"""The same in every Gemma tokenizer."""
PAD_ID: Final = 0
"""`<pad>`: never part of a text, in every Gemma tokenizer."""


@dataclass(frozen=True, slots=True)
class Family:
    """What one chat family adds to the vocabulary."""

    stop_tokens: tuple[str, ...]
    """Single tokens that end an answer; never shown."""
    markup_tokens: tuple[str, ...] = ()
    """Single tokens that structure an answer (thoughts, tool calls): shown, for the gateway to read."""
    image_placeholder: str | None = None
    """Where an image goes in the prompt text; the engine's processor expands it to the soft tokens."""
    audio_placeholder: str | None = None


_TURN_TAGS: Final = Family(stop_tokens=("<eos>", "<end_of_turn>"))

FAMILIES: Final[dict[str, Family]] = {
    "gemma1": _TURN_TAGS,
    "gemma2": _TURN_TAGS,
    "shieldgemma": _TURN_TAGS,
    "gemma3": Family(stop_tokens=("<eos>", "<end_of_turn>"), image_placeholder="<start_of_image>"),
    "gemma3n": Family(
        stop_tokens=("<eos>", "<end_of_turn>"),
        image_placeholder="<image_soft_token>",
        audio_placeholder="<audio_soft_token>",
    ),
    "functiongemma": Family(
        # The model hands over to the tool by opening its response; what follows is the caller's to write.
        stop_tokens=("<eos>", "<end_of_turn>", "<start_function_response>"),
        markup_tokens=("<start_function_call>", "<end_function_call>", "<escape>"),
    ),
    "gemma4": Family(
        stop_tokens=("<eos>", "<turn|>", "<|tool_response>"),
        markup_tokens=("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>'),
        image_placeholder="<|image|>",
        audio_placeholder="<|audio|>",
    ),
}


def family(name: str) -> Family:
    """Return the row; ValueError names the known families."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise ValueError(f"unknown Gemma family {name!r}; known: {', '.join(sorted(FAMILIES))}") from None


def without_bos(prompt: str) -> str:
    """Return the text without leading `<bos>`: the engines put exactly one in front themselves."""
    while prompt.startswith(BOS_TEXT):
        prompt = prompt[len(BOS_TEXT) :]
    return prompt


def with_one_bos(token_ids: list[int]) -> list[int]:
    """Return the ids with exactly one BOS in front."""
    first = next((index for index, token in enumerate(token_ids) if token != BOS_ID), len(token_ids))
    return [BOS_ID, *token_ids[first:]]


def media_kinds(prompt: str, name: str) -> list[str]:
    """Return "image" or "audio" for each media placeholder of the prompt, in order."""
    row = family(name)
    kinds = {row.image_placeholder: "image", row.audio_placeholder: "audio"}
    known = [re.escape(placeholder) for placeholder in kinds if placeholder is not None]
    return [kinds[found] for found in re.findall("|".join(known), prompt)] if known else []
