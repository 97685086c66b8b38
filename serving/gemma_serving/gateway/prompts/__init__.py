"""Conversations into the text that a Gemma was trained on: one module per turn format."""

from gemma_serving.gateway.prompts.conversation import (
    Conversation,
    Media,
    Text,
    Turn,
    conversation_from,
    texts_of,
)
from gemma_serving.gateway.prompts.formats import PromptFormat, format_for, format_of

__all__ = [
    "Conversation",
    "Media",
    "PromptFormat",
    "Text",
    "Turn",
    "conversation_from",
    "format_for",
    "format_of",
    "texts_of",
]
