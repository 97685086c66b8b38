"""JSON codec of the contract's dataclasses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, Self


class ContractError(ValueError):
    """A message does not match the contract; the text names the field."""


class Message:
    """JSON codec of the dataclasses below: unset optional fields are left out, unknown fields are refused."""

    _nested: ClassVar[dict[str, type]] = {}

    def to_json(self) -> str:
        """Compact JSON, keys in field order, `None` left out."""
        return json.dumps(_plain(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse; raises ContractError naming an unknown or missing field."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ContractError(f"{cls.__name__}: not JSON: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Build from a plain mapping; raises ContractError naming an unknown or missing field."""
        if not isinstance(data, dict):
            raise ContractError(f"{cls.__name__}: expected an object, got {type(data).__name__}")
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(data) - known)
        if unknown:
            names = ", ".join(sorted(known))
            raise ContractError(f"{cls.__name__}: unknown field {unknown[0]!r}; known: {names}")
        given = {name: kind for name, kind in cls._nested.items() if data.get(name) is not None}
        nested = {name: _nested_value(kind, data[name]) for name, kind in given.items()}
        try:
            return cls(**{**data, **nested})
        except TypeError as error:
            raise ContractError(f"{cls.__name__}: {error}") from error


def _nested_value(kind: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [kind.from_dict(item) for item in value]
    return kind.from_dict(value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
