"""The chat template that a checkpoint brings along, from wherever its format keeps it."""

from __future__ import annotations

import json
import logging
import struct
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILE = "tokenizer_config.json"
GGUF_KEY = "tokenizer.chat_template"
MAX_TEMPLATE_BYTES = 2**20

# Types of values in a GGUF file: github.com/ggml-org/ggml/blob/master/docs/gguf.md
_GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_STRING, _GGUF_ARRAY = 8, 9


def find_template(weights: Path) -> str | None:
    """Jinja text of the checkpoint's template; None where it has none or cannot be read from here."""
    try:
        if weights.is_file():
            return _from_gguf(weights) if weights.suffix == ".gguf" else None
        if (weights / TEMPLATE_FILE).is_file():
            return (weights / TEMPLATE_FILE).read_text()
        if (weights / TOKENIZER_FILE).is_file():
            return _from_tokenizer(json.loads((weights / TOKENIZER_FILE).read_text()).get("chat_template"))
    except (OSError, ValueError, struct.error) as error:
        log.warning("the chat template of %s cannot be read, the family's is used: %s", weights, error)
    return None


def _from_tokenizer(value: object) -> str | None:
    """One template, or a list of named ones of which `default` counts."""
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None


def _from_gguf(path: Path) -> str | None:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError("not a GGUF file")
        _, _, count = struct.unpack("<IQQ", file.read(20))
        for _ in range(count):
            key = _string(file)
            kind = _number(file, "<I")
            if key == GGUF_KEY and kind == _GGUF_STRING:
                return _string(file)
            _skip(file, kind)
    return None


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _GGUF_STRING:
        file.seek(_number(file, "<Q"), 1)
    elif kind == _GGUF_ARRAY:
        inner, count = _number(file, "<I"), _number(file, "<Q")
        if inner in _GGUF_SIZES:
            file.seek(_GGUF_SIZES[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(file, inner)
    elif kind in _GGUF_SIZES:
        file.seek(_GGUF_SIZES[kind], 1)
    else:
        raise ValueError(f"unknown type {kind} in a GGUF file")


def _string(file: BinaryIO) -> str:
    size = _number(file, "<Q")
    if size > MAX_TEMPLATE_BYTES:
        raise ValueError("a text of more than 1 MiB in a GGUF file's header")
    return file.read(size).decode()


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])
