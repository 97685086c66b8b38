"""Where weights come from: what is there, whether it may be read, and its bytes from any offset."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a commit; exactly one of the digests is known.

    Attributes:
        name: path in the repository, with `/`.
        size: bytes.
        sha256: digest of the content (files in large file storage).
        git_sha1: git's digest of the content (small files).
    """

    name: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def digest(self) -> str:
        """The known digest; names the content whatever the file is called."""
        return self.sha256 or self.git_sha1 or ""

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
        """`owner/name`."""

    def list(self, revision: str) -> Listing:
        """Resolve a branch, tag or commit and list its files."""

    def check_access(self, commit: str, file: SourceFile) -> None:
        """Fail as reading the file would, without reading it."""

    def read(self, commit: str, file: SourceFile, offset: int) -> AbstractContextManager[Body]:
        """Bytes of a file from an offset on."""
