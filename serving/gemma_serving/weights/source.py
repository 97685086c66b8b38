"""Where weights come from: what is there, whether it may be read, and its bytes from any offset."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from gemma_serving.weights.checksums import Checksum


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a revision; what names its content is a checksum, a pin, or both.

    Attributes:
        name: path in the repository, with `/`.
        size: bytes.
        checksum: what the source promises of the content; None where it promises only the size.
        pin: what the source calls this content (generation, entity tag), where it is read by that.
    """

    name: str
    size: int
    checksum: Checksum | None
    pin: str | None = None

    @property
    def identity(self) -> str:
        """Names the content, as a file name."""
        if self.pin is None and self.checksum is not None:
            return self.checksum.value
        return hashlib.sha256(f"{self.name}\n{self.size}\n{self.pin}".encode()).hexdigest()

    @property
    def is_inside(self) -> bool:
        """Whether the name stays below the folder that it is written to, whatever a hostile source says."""
        path = PurePosixPath(self.name)
        return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


@dataclass(frozen=True, slots=True)
class Listing:
    """What a revision holds."""

    commit: str
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes of a file.

    Attributes:
        offset: where the bytes begin; 0 when the source does not resume.
        chunks: the bytes, to the end of the file.
    """

    offset: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """A repository of weights.

    Raises:
        WeightsError: asking again would not help.
        SourceUnavailableError: worth another try.
    """

    @property
    def repository(self) -> str:
        """`owner/name`, or the URI of a bucket's prefix."""

    def list(self, revision: str) -> Listing:
        """Resolve a branch, tag or commit and list its files; a bucket has only what lies there now."""

    def check_access(self, commit: str, file: SourceFile) -> None:
        """Fail as reading the file would, without reading it."""

    def read(self, commit: str, file: SourceFile, offset: int) -> AbstractContextManager[Body]:
        """Bytes of a file from an offset on."""
