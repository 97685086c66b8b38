"""`tool_choice: required` and a named function: constrained decoding gives JSON, and JSON becomes calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gemma_serving.gateway.parts import Content, Part
from gemma_serving.gateway.tools.calls import CallWriter


def named_schema(function: dict[str, Any]) -> dict[str, Any]:
    """Schema of one function's arguments."""
    return function.get("parameters") or {"type": "object", "properties": {}}


def required_schema(functions: Sequence[dict[str, Any]], parallel: bool) -> dict[str, Any]:
    """Schema of a list of one or more calls to any of the functions."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": function["name"]}, "parameters": named_schema(function)},
            "required": ["name", "parameters"],
            "additionalProperties": False,
        }
        for function in functions
    ]
    items = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {"type": "array", "items": items, "minItems": 1, "maxItems": len(calls) if parallel else 1}


class ForcedAnswer:
    """Collects the JSON; an answer that was cut off makes no call."""

    def __init__(self, name: str | None, writer: CallWriter) -> None:
        self._name = name
        self._writer = writer
        self._text: list[str] = []

    def feed(self, text: str) -> list[Part]:
        """Nothing before the JSON is whole."""
        self._text.append(text)
        return []

    def finish(self) -> list[Part]:
        """The calls."""
        text = "".join(self._text)
        try:
            data = json.loads(text)
        except ValueError:
            return []
        if self._name is not None:
            return self._writer.write(self._name, data) if isinstance(data, dict) else [Content(text)]
        parts: list[Part] = []
        for call in data:
            parts += self._writer.write(call["name"], call["parameters"])
        return parts
