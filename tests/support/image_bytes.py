"""What an image archive holds, byte by byte."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"


def parts_of(archive: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the configuration and of each layer, uncompressed.

    A layer is a tar, in which files lie as they are. Its name is its digest, which images share with a layer.
    """
    with tarfile.open(archive) as tar:
        [manifest] = json.loads(_member(tar, "manifest.json"))
        for name in (manifest["Config"], *manifest["Layers"]):
            content = _member(tar, name)
            yield name, gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content


def file_at(layer: bytes, offset: int) -> str:
    """Which file of a layer has the byte at an offset, in its content or its header."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar:
            if member.offset <= offset < member.offset_data + member.size:
                return member.name
    return f"no file (byte {offset})"


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None, name
    return file.read()
