"""LoRA adapters for llama.cpp: a folder as PEFT and TRL write it, rewritten as the GGUF file llama.cpp reads.

Formats: huggingface/safetensors README ("Format"); ggml docs/gguf.md version 3; tensor names as llama.cpp's
convert_lora_to_gguf.py writes them. Numbers are copied, not converted.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gemma_serving.engines.adapters import PEFT_CONFIG

PEFT_WEIGHTS: Final = "adapter_model.safetensors"
GGUF_VERSION: Final = 3
ALIGNMENT: Final = 32
TENSOR_TYPES: Final = {"F32": 0, "F16": 1, "BF16": 30}
"""safetensors dtype to ggml type."""
_MODULES: Final = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ARCHITECTURES: Final = {
    "gemma1": "gemma",
    "gemma2": "gemma2",
    "shieldgemma": "gemma2",
    "gemma3": "gemma3",
    "functiongemma": "gemma3",
    "gemma3n": "gemma3n",
    "gemma4": "gemma4",
}
"""Chat family to llama.cpp's `general.architecture`, which must be the model's."""
_NAME: Final = re.compile(
    r"base_model\.model\.(?:model\.)?(?:language_model\.)?(?:model\.)?"
    r"layers\.(\d+)\.([\w.]+)\.lora_([AB])(?:\.default)?\.weight"
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One matrix of an adapter."""

    name: str
    kind: int
    """A ggml type."""
    shape: tuple[int, ...]
    """Outermost dimension first, as in safetensors."""
    content: memoryview


def gguf_of(path: Path, family: str, folder: Path, name: str) -> Path:
    """Return the GGUF file at `path`, or one in `folder` made from the PEFT folder there.

    Raises FileNotFoundError where there is neither, and ValueError for an adapter llama.cpp cannot hold.
    """
    if path.is_file():
        return path
    ready = sorted(path.glob("*.gguf"))
    if len(ready) == 1:
        return ready[0]
    if not (path / PEFT_CONFIG).is_file() or not (path / PEFT_WEIGHTS).is_file():
        raise FileNotFoundError(
            f"adapter {name!r}: needs {PEFT_CONFIG} and {PEFT_WEIGHTS} as PEFT writes them, or one GGUF "
            f"file; there is neither at {path}"
        )
    try:
        settings = json.loads((path / PEFT_CONFIG).read_text(encoding="utf-8"))
        tensors = _renamed((path / PEFT_WEIGHTS).read_bytes())
        metadata: dict[str, str | float] = {
            "general.type": "adapter",
            "general.architecture": _ARCHITECTURES[family],
            "adapter.type": "lora",
            "adapter.lora.alpha": _alpha(settings),
        }
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise ValueError(f"adapter {name!r} at {path} cannot be used with llama.cpp: {error}") from error
    target = folder / f"{name}.gguf"
    target.write_bytes(_gguf(metadata, tensors))
    return target


def _alpha(settings: dict[str, Any]) -> float:
    """Return what llama.cpp divides by the rank; PEFT's rank-stabilised variant divides by its root."""
    if settings.get("use_dora") or settings.get("alpha_pattern") or settings.get("rank_pattern"):
        raise ValueError("DoRA and ranks or alphas that differ by module have no GGUF form")
    alpha, rank = float(settings["lora_alpha"]), int(settings["r"])
    return alpha * math.sqrt(rank) if settings.get("use_rslora") else alpha


def _renamed(content: bytes) -> list[Tensor]:
    """Return the tensors of a safetensors file by llama.cpp's names, in the order of their names."""
    (size,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + size])
    data = memoryview(content)[8 + size :]
    tensors = []
    for name, entry in sorted(header.items()):
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        kind = TENSOR_TYPES.get(entry["dtype"])
        if kind is None:
            raise ValueError(f"tensor {name} is {entry['dtype']}; known: {', '.join(TENSOR_TYPES)}")
        tensors.append(Tensor(_gguf_name(name), kind, tuple(entry["shape"]), data[begin:end]))
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors


def _gguf_name(name: str) -> str:
    found = _NAME.fullmatch(name)
    if found is None or found[2] not in _MODULES:
        known = ", ".join(_MODULES)
        raise ValueError(f"tensor {name} is none that llama.cpp adapts; it adapts {known} of the layers")
    return f"blk.{found[1]}.{_MODULES[found[2]]}.weight.lora_{found[3].lower()}"


def _gguf(metadata: dict[str, str | float], tensors: list[Tensor]) -> bytes:
    header = b"GGUF" + struct.pack("<IQQ", GGUF_VERSION, len(tensors), len(metadata))
    header += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    data = bytearray()
    for tensor in tensors:
        dimensions = tensor.shape[::-1]  # ggml's innermost comes first
        header += _text(tensor.name) + struct.pack(
            f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.kind, len(data)
        )
        data += tensor.content
        data += bytes(-len(data) % ALIGNMENT)
    return header + bytes(-len(header) % ALIGNMENT) + data


def _value(value: str | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<If", 6, value)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()
