"""Writes a LoRA adapter for Gemma 3 270M as a GGUF file (format: ggml's docs/gguf.md, version 3)."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ALIGNMENT: Final = 32
TYPE_UINT32, TYPE_FLOAT32, TYPE_STRING = 4, 6, 8
TENSOR_FLOAT32: Final = 0
HIDDEN_SIZE: Final = 640
QUERY_SIZE: Final = 1024
RANK: Final = 4


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def write_lora(path: Path, *, seed: int, strength: float) -> Path:
    """Write an adapter of rank 4 on the query projections of all layers, with random weights of that size."""
    draw = random.Random(seed)
    shapes: dict[str, tuple[int, int]] = {}
    for layer in range(18):
        shapes[f"blk.{layer}.attn_q.weight.lora_a"] = (HIDDEN_SIZE, RANK)
        shapes[f"blk.{layer}.attn_q.weight.lora_b"] = (RANK, QUERY_SIZE)
    pairs = [
        _pair("general.architecture", TYPE_STRING, _text("gemma3")),
        _pair("general.type", TYPE_STRING, _text("adapter")),
        _pair("general.alignment", TYPE_UINT32, struct.pack("<I", ALIGNMENT)),
        _pair("adapter.type", TYPE_STRING, _text("lora")),
        _pair("adapter.lora.alpha", TYPE_FLOAT32, struct.pack("<f", float(RANK))),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(pairs)) + b"".join(pairs)
    infos, data = b"", b""
    for name, (inner, outer) in shapes.items():
        infos += _text(name) + struct.pack("<IQQIQ", 2, inner, outer, TENSOR_FLOAT32, len(data))
        data += _padded(_floats(draw.gauss(0, strength) for _ in range(inner * outer)))
    path.write_bytes(_padded(header + infos) + data)
    return path


def _floats(values: Iterable[float]) -> bytes:
    numbers = list(values)
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGNMENT)
