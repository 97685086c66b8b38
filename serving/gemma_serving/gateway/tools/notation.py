"""The notation that Gemma 4 and FunctionGemma were trained on: like JSON, with bare keys and a string token.

`call:weather{city:<|"|>Paris<|"|>,days:3}`. The string token differs by family; inside strings nothing is
escaped. Sources: ai.google.dev/gemma/docs/core/prompt-formatting-gemma4 and
…/functiongemma/formatting-and-best-practices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gemma_serving.gateway.control_tokens import inert

MAX_DEPTH = 64
"""Nesting of a call's arguments; deeper text is not taken for a call."""
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}


class NotationError(ValueError):
    """The text is not in the notation."""


class Notation:
    """Reads and writes values with one family's string token."""

    def __init__(self, quote: str) -> None:
        self.quote = quote

    def write(self, value: Any) -> str:
        """A JSON value in the notation."""
        if isinstance(value, str):
            return f"{self.quote}{inert(value)}{self.quote}"
        if isinstance(value, Mapping):
            return "{" + self.members(value) + "}"
        if isinstance(value, Sequence):
            return "[" + ",".join(map(self.write, value)) + "]"
        return json.dumps(value)

    def members(self, value: Mapping[str, Any]) -> str:
        """Members of an object without its braces, in the order of training: by name."""
        return ",".join(f"{inert(key)}:{self.write(value[key])}" for key in sorted(value, key=str.lower))

    def read_object(self, text: str) -> dict[str, Any]:
        """`{…}` and nothing else; raises NotationError."""
        reader = _Reader(text, self.quote)
        value = reader.object(0)
        reader.end()
        return value


class _Reader:
    """Recursive descent over one text."""

    def __init__(self, text: str, quote: str) -> None:
        self._text = text
        self._quote = quote
        self._at = 0

    def end(self) -> None:
        if self._text[self._at :].strip():
            raise NotationError("text after the object")

    def object(self, depth: int) -> dict[str, Any]:
        self._expect("{")
        value: dict[str, Any] = {}
        if self._accept("}"):
            return value
        while True:
            key = self._key()
            self._expect(":")
            value[key] = self._value(depth + 1)
            if self._accept("}"):
                return value
            self._expect(",")

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NotationError("nested too deeply")
        self._skip()
        if self._text.startswith("{", self._at):
            return self.object(depth)
        if self._accept("["):
            return self._list(depth)
        if self._text.startswith(self._quote, self._at):
            return self._quoted()
        if self._text.startswith('"', self._at):
            return self._json_string()
        return self._bare()

    def _list(self, depth: int) -> list[Any]:
        values: list[Any] = []
        if self._accept("]"):
            return values
        while True:
            values.append(self._value(depth + 1))
            if self._accept("]"):
                return values
            self._expect(",")

    def _key(self) -> str:
        self._skip()
        if self._text.startswith(self._quote, self._at):
            return self._quoted()
        if self._text.startswith('"', self._at):
            return self._json_string()
        end = self._text.find(":", self._at)
        if end < 0:
            raise NotationError("a key without a value")
        key, self._at = self._text[self._at : end].strip(), end
        return key

    def _quoted(self) -> str:
        start = self._at + len(self._quote)
        end = self._text.find(self._quote, start)
        if end < 0:
            raise NotationError("a string without an end")
        self._at = end + len(self._quote)
        return self._text[start:end]

    def _json_string(self) -> str:
        """Ordinary quotes, which the model sometimes writes inside lists."""
        try:
            value, self._at = json.JSONDecoder(strict=False).raw_decode(self._text, self._at)
        except ValueError as error:
            raise NotationError(str(error)) from error
        return str(value)

    def _bare(self) -> Any:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ",}]":
            self._at += 1
        word = self._text[start : self._at].strip()
        if word in _WORDS:
            return _WORDS[word]
        return json.loads(word) if _NUMBER.fullmatch(word) else word

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _accept(self, token: str) -> bool:
        self._skip()
        found = self._text.startswith(token, self._at)
        self._at += len(token) if found else 0
        return found

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise NotationError(f"expected {token!r} at {self._at}")


def declaration(function: Mapping[str, Any], notation: Notation) -> str:
    """A function in the form of training: description first, type last."""
    description = notation.write(function.get("description") or "")
    text = f"declaration:{function['name']}{{description:{description}"
    schema = function.get("parameters") or {}
    if schema:
        parts = []
        if schema.get("properties"):
            parts.append(f"properties:{{{_properties(schema['properties'], notation)}}}")
        if schema.get("required"):
            parts.append(f"required:{notation.write(schema['required'])}")
        parts.append(f"type:{notation.write(_type_name(schema.get('type', 'object')))}")
        text += f",parameters:{{{','.join(parts)}}}"
    return text + "}"


def _properties(properties: Mapping[str, Any], notation: Notation) -> str:
    names = sorted(properties, key=str.lower)
    return ",".join(f"{inert(name)}:{{{_schema(properties[name], notation)}}}" for name in names)


def _schema(schema: Any, notation: Notation) -> str:
    if not isinstance(schema, Mapping):
        return ""
    parts = []
    if schema.get("description"):
        parts.append(f"description:{notation.write(schema['description'])}")
    if schema.get("enum"):
        parts.append(f"enum:{notation.write(schema['enum'])}")
    if isinstance(schema.get("items"), Mapping):
        parts.append(f"items:{{{_schema(schema['items'], notation)}}}")
    if schema.get("nullable"):
        parts.append("nullable:true")
    if isinstance(schema.get("properties"), Mapping):
        parts.append(f"properties:{{{_properties(schema['properties'], notation)}}}")
    if schema.get("required"):
        parts.append(f"required:{notation.write(schema['required'])}")
    if "type" in schema:
        parts.append(f"type:{notation.write(_type_name(schema['type']))}")
    return ",".join(parts)


def _type_name(value: Any) -> Any:
    return [str(item).upper() for item in value] if isinstance(value, list) else str(value).upper()
