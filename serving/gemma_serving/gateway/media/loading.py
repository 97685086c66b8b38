"""From the media of a conversation to the bytes that the engine gets, in prompt order."""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from collections.abc import Sequence

from gemma_serving.contract import MediaConfig
from gemma_serving.gateway.errors import ApiError, invalid
from gemma_serving.gateway.media.decoder import DecodeError, Decoder
from gemma_serving.gateway.media.fetch import Fetcher, FetchError
from gemma_serving.gateway.prompts.conversation import Media

_SOUNDS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
"""First bytes of WAV, FLAC, Ogg and MP3."""


class MediaLoader:
    """Loads a request's images and sounds within the deployment's limits."""

    def __init__(self, config: MediaConfig | None, modalities: Sequence[str], variant: str) -> None:
        self._config = config or MediaConfig()
        self._modalities = modalities
        self._variant = variant
        self._decoder = Decoder(self._config.max_pixels)
        self._fetcher: Fetcher | None = None

    def check(self, items: Sequence[Media]) -> None:
        """Raises ApiError 400 for kinds that the variant does not take, and for too many."""
        for item in items:
            if item.kind not in self._modalities:
                what = "images" if item.kind == "image" else "audio"
                message = (
                    f"{item.param}: {self._variant} as deployed does not accept {what}, only "
                    f"{', '.join(self._modalities)}. Variants that do: {_VARIANTS[item.kind]}."
                )
                raise invalid(message, item.param, "unsupported_modality")
        if len(items) > self._config.max_items:
            message = (
                f"messages: {len(items)} images and sounds; {self._config.max_items} are allowed per request"
            )
            raise invalid(message, "messages", "too_many_media")

    async def load(self, items: Sequence[Media]) -> tuple[bytes, ...]:
        """Bytes in prompt order; raises ApiError 400 that names the item."""
        self.check(items)
        return tuple([await self._load(item) for item in items])

    async def close(self) -> None:
        """End the decoder, let go of connections."""
        await self._decoder.close()
        if self._fetcher is not None:
            await self._fetcher.close()

    async def _load(self, item: Media) -> bytes:
        data = await self._bytes(item)
        if not data:
            raise _refused(item, "it is empty")
        if item.kind == "audio":
            if not data.startswith(_SOUNDS):
                raise _refused(item, "it is not WAV, MP3, FLAC or Ogg")
            return data
        try:
            return await self._decoder.decode(data)
        except DecodeError as error:
            raise _refused(item, str(error)) from error

    async def _bytes(self, item: Media) -> bytes:
        if item.kind == "audio":
            return self._decoded(item, item.source)
        if item.source.startswith("data:"):
            head, _, body = item.source.partition(",")
            if head.endswith(";base64"):
                return self._decoded(item, body)
            return urllib.parse.unquote_to_bytes(body)
        if not self._config.fetch:
            raise _refused(item, "images by URL are not fetched here; send a data: URL")
        if self._fetcher is None:
            self._fetcher = Fetcher(self._config.max_bytes)
        try:
            return await self._fetcher.fetch(item.source)
        except FetchError as error:
            raise _refused(item, str(error)) from error

    def _decoded(self, item: Media, text: str) -> bytes:
        if len(text) * 3 // 4 > self._config.max_bytes:
            raise _refused(item, f"it is larger than {self._config.max_bytes} bytes")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _refused(item, "it is not base64") from error


_VARIANTS = {
    "image": "Gemma 3 4B and larger, Gemma 3n, Gemma 4",
    "audio": "Gemma 3n, Gemma 4 E2B, E4B and 12B",
}


def _refused(item: Media, why: str) -> ApiError:
    return invalid(f"{item.param}: the {item.kind} cannot be used: {why}", item.param, f"invalid_{item.kind}")
