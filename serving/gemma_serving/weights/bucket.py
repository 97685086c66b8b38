"""What buckets have in common, whichever store they are of: a prefix, its objects, and their revision."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from gemma_serving.weights.checksums import Checksum
from gemma_serving.weights.outcome import Reason, WeightsError
from gemma_serving.weights.selection import is_data
from gemma_serving.weights.source import Listing, SourceFile

MOST_OBJECTS = 1000
"""A checkpoint has a few dozen files. One page of either store's listing."""
WHOLE_MODEL = ".gguf"
"""A file that needs no other; safetensors lie in a folder with their configuration."""
REVISION_DIGITS = 40
"""As many as a commit has."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A folder of a bucket, or one file in it.

    Attributes:
        uri: as it was given.
        bucket: its name.
        folder: what keys begin with before a file's name; ends with a slash unless it is the bucket's root.
        file: the one file that the URI names, if it names one.
    """

    uri: str
    bucket: str
    folder: str
    file: str = ""

    @classmethod
    def of(cls, uri: str) -> "Prefix":
        """Read a URI.

        >>> Prefix.of("s3://models/gemma/").folder
        'gemma/'
        >>> Prefix.of("gs://models/a.gguf").file
        'a.gguf'
        """
        uri = uri.rstrip("/")
        parts = urlsplit(uri)
        path = uri.removeprefix(f"{parts.scheme}://{parts.netloc}").removeprefix("/")
        folder, _, last = path.rpartition("/")
        if last.endswith(WHOLE_MODEL):
            return cls(uri, parts.netloc, f"{folder}/" if folder else "", last)
        return cls(uri, parts.netloc, f"{path}/" if path else "")

    @property
    def begins(self) -> str:
        """What the keys of all objects begin with."""
        return self.folder + self.file

    def key(self, file: SourceFile) -> str:
        """Key of a file's object."""
        return self.folder + file.name

    def holds_data(self, key: str) -> bool:
        """Whether an object may be fetched, from its key: no pickles, no code, no empty folder."""
        return is_data(key) and (not self.file or key == self.begins)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a bucket.

    Attributes:
        key: its whole name.
        size: bytes.
        pin: generation or entity tag; another content has another.
        checksum: what the store gives for its content.
    """

    key: str
    size: int
    pin: str
    checksum: Checksum | None


def listing_of(prefix: Prefix, objects: Iterable[StoredObject]) -> Listing:
    """Files of a prefix, and a revision that differs as soon as one of them does.

    Raises:
        WeightsError: there are none.
    """
    files = tuple(
        SourceFile(stored.key.removeprefix(prefix.folder), stored.size, stored.checksum, stored.pin)
        for stored in sorted(objects, key=lambda each: each.key)
    )
    if not files:
        raise WeightsError(
            Reason.NOT_FOUND,
            f"nothing at {prefix.uri} may be fetched: it needs safetensors or GGUF weights with their "
            "configuration; check the path, which is a folder or one .gguf file",
        )
    described = json.dumps([(file.name, file.size, file.pin) for file in files], separators=(",", ":"))
    return Listing(hashlib.sha256(described.encode()).hexdigest()[:REVISION_DIGITS], files)


def too_many(prefix: Prefix) -> WeightsError:
    """What to say of a prefix that is no checkpoint."""
    return WeightsError(
        Reason.NOT_FOUND,
        f"{prefix.uri} holds more than {MOST_OBJECTS} objects, a checkpoint a few dozen files: "
        "name the folder of one checkpoint",
    )


def changed(prefix: Prefix, file: SourceFile) -> WeightsError:
    """What to say of an object that is no longer the one that was listed."""
    return WeightsError(
        Reason.FETCH_FAILED,
        f"{file.name} of {prefix.uri} was replaced or deleted while it was fetched; nothing of a mixture is "
        "used, and the next start lists the folder anew: put another checkpoint into another folder",
    )
