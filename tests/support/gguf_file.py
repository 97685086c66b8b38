"""Writes small GGUF files (format: ggml's docs/gguf.md, version 3): a LoRA adapter and an image projector.

Both fit Gemma 3 270M and hold random weights: they change what the model says, not for the better.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

ALIGNMENT: Final = 32
TENSOR_FLOAT32: Final = 0
HIDDEN_SIZE: Final = 640
QUERY_SIZE: Final = 1024
LAYERS: Final = 18
LORA_RANK: Final = 4
IMAGE_SIZE, PATCH_SIZE, VISION_SIZE, VISION_FEED_FORWARD = 112, 14, 64, 128
IMAGE_TOKENS: Final = (IMAGE_SIZE // PATCH_SIZE // 4) ** 2
"""Gemma 3 pools 4 x 4 patches into one token."""

Value = str | int | float | bool | list[float]


def write_gguf(
    path: Path, pairs: Mapping[str, Value], tensors: Mapping[str, tuple[tuple[int, ...], list[float]]]
) -> Path:
    """Write metadata and float32 tensors (name to dimensions, innermost first, and values)."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    header += b"".join(_text(key) + _value(value) for key, value in pairs.items())
    data = b""
    for name, (shape, values) in tensors.items():
        header += _text(name) + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *shape, TENSOR_FLOAT32, len(data)
        )
        data += _padded(struct.pack(f"<{len(values)}f", *values))
    path.write_bytes(_padded(header) + data)
    return path


def _value(value: Value) -> bytes:
    kinds = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return struct.pack(f"<IIQ{len(value)}f", 9, 6, len(value), *value)
    kind, layout = kinds[type(value)]
    return struct.pack("<I", kind) + struct.pack(layout, value)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGNMENT)


def _random(
    shapes: Mapping[str, tuple[int, ...]], seed: int, strength: float
) -> dict[str, tuple[tuple[int, ...], list[float]]]:
    draw = random.Random(seed)

    def values(count: int) -> Iterable[float]:
        return (draw.gauss(0, strength) for _ in range(count))

    sizes = {name: _product(shape) for name, shape in shapes.items()}
    return {name: (shape, list(values(sizes[name]))) for name, shape in shapes.items()}


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for each in shape:
        product *= each
    return product


def write_lora(path: Path, *, seed: int, strength: float) -> Path:
    """Write an adapter on the query projections of all layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        shapes[f"blk.{layer}.attn_q.weight.lora_a"] = (HIDDEN_SIZE, LORA_RANK)
        shapes[f"blk.{layer}.attn_q.weight.lora_b"] = (LORA_RANK, QUERY_SIZE)
    pairs: dict[str, Value] = {
        "general.architecture": "gemma3",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(LORA_RANK),
    }
    return write_gguf(path, pairs, _random(shapes, seed, strength))


def lora_contents(path: Path, layer: int) -> list[tuple[tuple[int, ...], bytes]]:
    """Shape (outermost first) and bytes of lora_a and lora_b of one layer of a file that write_lora made."""
    content = path.read_bytes()
    sizes = (HIDDEN_SIZE * LORA_RANK * 4, LORA_RANK * QUERY_SIZE * 4)
    start = len(content) - LAYERS * sum(sizes) + layer * sum(sizes)
    middle = start + sizes[0]
    return [
        ((LORA_RANK, HIDDEN_SIZE), content[start:middle]),
        ((QUERY_SIZE, LORA_RANK), content[middle : middle + sizes[1]]),
    ]


def safetensors(tensors: Mapping[str, tuple[tuple[int, ...], bytes]]) -> bytes:
    """A safetensors file of float32 tensors (name to shape and bytes)."""
    header, data = {}, b""
    for name, (shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_peft(folder: Path, *, seed: int, strength: float) -> Path:
    """Write the adapter of write_lora as PEFT would have saved it."""
    folder.mkdir(parents=True)
    gguf = write_lora(folder / "adapter.gguf", seed=seed, strength=strength)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": content
        for layer in range(LAYERS)
        for side, content in zip("AB", lora_contents(gguf, layer), strict=True)
    }
    gguf.unlink()
    settings = {"peft_type": "LORA", "r": LORA_RANK, "lora_alpha": LORA_RANK, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors))
    return folder


def write_projector(path: Path) -> Path:
    """Write a vision tower of one layer with Gemma 3's projector."""
    square = {
        f"v.blk.0.{name}.weight": (VISION_SIZE, VISION_SIZE)
        for name in ("attn_q", "attn_k", "attn_v", "attn_out")
    }
    vectors = [
        f"v.blk.0.{name}.bias"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_down", "ln1", "ln2")
    ]
    vectors += [
        "v.blk.0.ln1.weight",
        "v.blk.0.ln2.weight",
        "v.post_ln.weight",
        "v.post_ln.bias",
        "v.patch_embd.bias",
    ]
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (PATCH_SIZE, PATCH_SIZE, 3, VISION_SIZE),
        "v.position_embd.weight": (VISION_SIZE, (IMAGE_SIZE // PATCH_SIZE) ** 2),
        **square,
        **dict.fromkeys(vectors, (VISION_SIZE,)),
        "v.blk.0.ffn_up.weight": (VISION_SIZE, VISION_FEED_FORWARD),
        "v.blk.0.ffn_up.bias": (VISION_FEED_FORWARD,),
        "v.blk.0.ffn_down.weight": (VISION_FEED_FORWARD, VISION_SIZE),
        "mm.input_projection.weight": (HIDDEN_SIZE, VISION_SIZE),
        "mm.soft_emb_norm.weight": (VISION_SIZE,),
    }
    pairs: dict[str, Value] = {
        "general.architecture": "clip",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "gemma3",
        "clip.use_gelu": True,
        "clip.vision.image_size": IMAGE_SIZE,
        "clip.vision.patch_size": PATCH_SIZE,
        "clip.vision.embedding_length": VISION_SIZE,
        "clip.vision.feed_forward_length": VISION_FEED_FORWARD,
        "clip.vision.block_count": 1,
        "clip.vision.attention.head_count": 4,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.projection_dim": HIDDEN_SIZE,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    return write_gguf(path, pairs, _random(shapes, seed=0, strength=0.5))
