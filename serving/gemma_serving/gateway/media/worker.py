"""The process that decodes images, so that a hostile one costs a child and never the gateway.

Run as `python -m gemma_serving.gateway.media.worker MAX_PIXELS`. Standard input and output carry frames:
four bytes of length (little-endian), then the bytes. An answer begins with `+` (a PNG in RGB) or `-` (why
not).
"""

from __future__ import annotations

import io
import resource
import sys
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

MEMORY_BYTES = 1536 * 2**20
"""Address space of the worker: the largest allowed image four times over, and Python."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MIN_SIDE = 16
"""Smaller sides are scaled up: engines guess the channel axis of one-pixel images wrongly."""
MAX_SIDE = 3072
"""Larger images are scaled down: no Gemma looks at more than about 1600 x 1600."""


class ImageError(ValueError):
    """The image cannot be used; the text says why."""


def normalized(data: bytes, max_pixels: int) -> bytes:
    """A PNG in RGB of the image's first frame, turned upright; raises ImageError."""
    Image.MAX_IMAGE_PIXELS = None  # Judged below, with our own words.
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(f"{width} x {height} pixels are more than the {max_pixels} allowed")
            if image.format == "JPEG":
                image.draft("RGB", (MAX_SIDE, MAX_SIDE))
            image.load()
            upright = ImageOps.exif_transpose(image) or image
            return _png(_rgb(upright))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"not one of {', '.join(FORMATS)}") from error
    except MemoryError as error:
        raise ImageError("it needs too much memory to decode") from error
    except Exception as error:
        # Pillow's decoders raise nearly anything on broken files.
        raise ImageError(f"it cannot be decoded: {type(error).__name__}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits per pixel, which `convert` would clip instead of scaling.
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _png(image: Image.Image) -> bytes:
    width, height = image.size
    scale = min(1.0, MAX_SIDE / max(width, height))
    wanted = (max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale)))
    if wanted != image.size:
        image = image.resize(wanted)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    return None if len(head) < 4 else stream.read(int.from_bytes(head, "little"))


def main() -> None:
    """Answer frame by frame until standard input ends."""
    max_pixels = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (frame := _read(sys.stdin.buffer)) is not None:
        try:
            answer = b"+" + normalized(frame, max_pixels)
        except ImageError as error:
            answer = b"-" + str(error).encode()
        sys.stdout.buffer.write(len(answer).to_bytes(4, "little") + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
