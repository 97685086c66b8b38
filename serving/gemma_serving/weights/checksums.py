"""Checksums that sources promise of their files, computed as the bytes go by."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import anycrc


class Algorithm(StrEnum):
    """How a source knows its files."""

    SHA256 = "sha256"
    GIT_SHA1 = "git-sha1"
    """Git's, over a header with the size and then the content."""
    MD5 = "md5"
    CRC64NVME = "crc64nvme"
    CRC32C = "crc32c"
    CRC32 = "crc32"


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a source promises of a file's content; the value in lower-case hexadecimal."""

    algorithm: Algorithm
    value: str


class Running(Protocol):
    """A checksum of the bytes so far."""

    def update(self, chunk: bytes, /) -> object:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """Of all bytes so far, in lower-case hexadecimal."""


_CRC_MODELS = {
    Algorithm.CRC64NVME: ("CRC64-NVME", 64),
    Algorithm.CRC32C: ("CRC32C", 32),
    Algorithm.CRC32: ("CRC32", 32),
}
"""Name in the catalogue of parametrised CRC algorithms, and width in bits."""
_BITS_PER_DIGIT = 4


class _Crc:
    def __init__(self, model: str, bits: int) -> None:
        self._model = anycrc.Model(model)
        self._value = self._model.calc(b"")
        self._digits = bits // _BITS_PER_DIGIT

    def update(self, chunk: bytes, /) -> None:
        self._value = self._model.calc(chunk, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:0{self._digits}x}"


def begin(algorithm: Algorithm, size: int) -> Running:
    """A checksum of no bytes yet, of a file that will have `size` bytes."""
    if algorithm in _CRC_MODELS:
        return _Crc(*_CRC_MODELS[algorithm])
    if algorithm is Algorithm.GIT_SHA1:
        return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    if algorithm is Algorithm.MD5:
        return hashlib.md5(usedforsecurity=False)
    return hashlib.sha256()
