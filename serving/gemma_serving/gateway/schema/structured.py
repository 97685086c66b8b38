"""Fields that constrain the form of an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gemma_serving.gateway.schema.base import Body

MAX_PATTERN_CHARACTERS = 100_000


class TextFormat(Body):
    """Free text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Body):
    """A JSON schema with OpenAI's wrapping."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None
    """Accepted; the schema is always enforced."""


class JsonSchemaFormat(Body):
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
Pattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]


class StructuredFields(Body):
    """vLLM's spelling, which its clients send as extra fields."""

    guided_json: dict[str, Any] | Pattern | None = None
    """A JSON schema, or its text."""
    guided_regex: Pattern | None = None
    """A regular expression that the answer matches as a whole."""
    guided_grammar: Pattern | None = None
    """A grammar in the engine's notation (GBNF for llama.cpp, EBNF for vLLM)."""
    guided_choice: (
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1024)] | None
    ) = None
    """The answer is exactly one of these."""
