"""Media of one request on its way to the engine: what it may weigh, and the /dev/shm that holds it."""

from collections.abc import Collection
from math import ceil

from gemma_operator.api.quantity import GIB, MIB, gib, parse_bytes
from gemma_operator.api.v1alpha1 import MediaSpec
from gemma_operator.planning.units import ceil_div

IMAGE_SIDE = 3072
"""Pixels: the gateway scales larger images down (gemma_serving/gateway/media/worker.py)."""
RGB_BYTES = 3
PNG_MARGIN = 0.01
"""Filter bytes and block headers of a picture that does not compress."""
MESSAGE_BYTES = 2**31 - 1
"""A request reaches Triton with its media in one gRPC message, which holds no more."""
PROMPT_BYTES = 64 * MIB
"""Prompt, schema and frame of that message; request bodies are limited far below."""
EXCHANGE_BYTES = GIB // 2
"""What ranks and engine processes exchange beside media."""
SHARED_MEMORY_PER_RANK_BYTES = GIB
SHARED_MEMORY_LEAST_BYTES = 2 * GIB
"""Triton and NCCL advise 2 GiB or more."""


def item_bytes(media: MediaSpec, modalities: Collection[str]) -> int:
    """Most bytes of one item as the engine gets it: images as PNG in RGB, sound as it was sent."""
    image = sound = 0
    if "image" in modalities:
        image = ceil(min(media.max_pixels, IMAGE_SIDE**2) * RGB_BYTES * (1 + PNG_MARGIN))
    if "audio" in modalities:
        sound = parse_bytes(media.max_item_size)
    return max(image, sound)


def request_media_bytes(media: MediaSpec, modalities: Collection[str]) -> int:
    """Most bytes that the media of one request weigh."""
    return media.max_items * item_bytes(media, modalities)


def too_much_media(media: MediaSpec, modalities: Collection[str]) -> str | None:
    """Why no request could bring all of it to the engine; None where it could."""
    each, room = item_bytes(media, modalities), MESSAGE_BYTES - PROMPT_BYTES
    if media.max_items * each <= room:
        return None
    fewer = f"media.maxItems to {room // each} or less, or " if room // each else ""
    return (
        f"media.maxItems {media.max_items} x {each // MIB} MiB for an item as the engine gets it needs "
        f"{gib(media.max_items * each)} GiB, a request to the engine has {gib(room)} GiB for media; set "
        f"{fewer}media.maxItemSize to {room // media.max_items // MIB}Mi or less"
    )


def shared_memory_bytes(ranks: int, media_bytes: int) -> int:
    """Size of /dev/shm; memory-backed, so it counts against the container's memory.

    Triton hands requests to the engine through it one at a time.
    """
    with_media = ceil_div(EXCHANGE_BYTES + media_bytes, MIB) * MIB
    return max(SHARED_MEMORY_LEAST_BYTES, SHARED_MEMORY_PER_RANK_BYTES * ranks, with_media)
