"""Media bytes as the GPU engines take them.

The decoders are the engines' own dependencies, loaded when first needed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from gemma_serving.contract import FailureCode
from gemma_serving.engines.protocol import EngineFailureError


def decoded_media(kinds: Sequence[str], media: Sequence[bytes]) -> dict[str, list[Any]]:
    """Return the engines' `multi_modal_data`: RGB PIL images, and (samples, rate) pairs of audio, by kind.

    Raises EngineFailureError where an item is not what its placeholder says.
    """
    decoded: dict[str, list[Any]] = {}
    for number, (kind, item) in enumerate(zip(kinds, media, strict=True)):
        decode = _image if kind == "image" else _audio
        try:
            decoded.setdefault(kind, []).append(decode(item))
        except Exception as error:  # whatever the decoders throw at bytes from outside
            message = f"media item {number} is not readable as {kind}: {error}"
            raise EngineFailureError(FailureCode.INVALID_REQUEST, message, "media") from error
    return decoded


def _image(item: bytes) -> Any:
    from PIL import Image  # noqa: PLC0415  # a text-only engine loads no decoder

    return Image.open(io.BytesIO(item)).convert("RGB")


def _audio(item: bytes) -> Any:
    import soundfile  # noqa: PLC0415  # a text-only engine loads no decoder

    return soundfile.read(io.BytesIO(item), dtype="float32")
