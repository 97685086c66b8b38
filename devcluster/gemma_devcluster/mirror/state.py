"""What the mirror serves, how it is told to misbehave, and what it was asked."""

import hashlib
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

MIB = 1024 * 1024
# The hub keeps these in large file storage, by the .gitattributes of every model repository.
LARGE_FILE_SUFFIXES = frozenset({".gguf", ".safetensors", ".bin", ".model"})


@dataclass(frozen=True)
class Faults:
    """How a repository misbehaves.

    Attributes:
        gated: files need a token whose account has accepted the licence.
        cut_after_bytes: the connection ends after so many bytes of a file.
        cut_below_offset: only transfers that start below this offset are cut; None: all.
        corrupt_at: offset of a byte that is flipped.
        corrupt_transfers: how many transfers of that byte it is flipped in; None: all.
        bytes_per_second: no faster than this.
        status: every request is answered with this HTTP status.
    """

    gated: bool = False
    cut_after_bytes: int | None = None
    cut_below_offset: int | None = None
    corrupt_at: int | None = None
    corrupt_transfers: int | None = None
    bytes_per_second: int | None = None
    status: int | None = None


PRESETS = {
    "gated": Faults(gated=True),
    "cut": Faults(cut_after_bytes=64 * MIB, cut_below_offset=2 * 64 * MIB),
    "corrupt": Faults(corrupt_at=MIB),
    "slow": Faults(bytes_per_second=4 * MIB),
}


@dataclass(frozen=True)
class HubFile:
    """A file as the hub describes it."""

    name: str
    path: Path
    size: int
    git_oid: str
    sha256: str | None
    """None for files that are not in large file storage."""

    @property
    def etag(self) -> str:
        """Content hash in the form that the hub uses for this kind of file."""
        return self.sha256 or self.git_oid


@lru_cache(maxsize=256)
def _describe(path: Path, name: str, size: int, changed_ns: int) -> HubFile:
    """`changed_ns` is part of the cache's key only."""
    content_sha = hashlib.sha256()
    blob_sha = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            content_sha.update(chunk)
            blob_sha.update(chunk)
    large = path.suffix in LARGE_FILE_SUFFIXES
    return HubFile(name, path, size, blob_sha.hexdigest(), content_sha.hexdigest() if large else None)


def files_of(folder: Path) -> list[HubFile]:
    """The files of a model, sorted by name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(path, path.stat()) for path in paths]
    return [_describe(p, p.relative_to(folder).as_posix(), s.st_size, s.st_mtime_ns) for p, s in stats]


def commit_of(files: list[HubFile]) -> str:
    """The model's one commit: a digest of its content, so that a changed file is a new commit."""
    text = "\n".join(f"{file.name} {file.git_oid}" for file in files)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Request:
    """One request as it was answered; `sent` counts the body's bytes."""

    method: str
    path: str
    range: str | None
    authorized: bool
    status: int
    sent: int


@dataclass
class State:
    """Shared by all connections."""

    root: Path
    scheme: str = "http"
    faults: dict[str, Faults] = field(default_factory=dict)
    corrupted: dict[str, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def folder(self, repository: str) -> Path | None:
        """Where a model lies; the owners of `PRESETS` borrow those of others."""
        owner, _, name = repository.partition("/")
        folder = self.root / owner / name
        if owner in PRESETS and not folder.is_dir():
            folder = next((path for path in sorted(self.root.glob(f"*/{name}")) if path.is_dir()), folder)
        return folder if folder.is_dir() else None

    def faults_of(self, repository: str) -> Faults:
        """How a repository is to misbehave."""
        return self.faults.get(repository) or PRESETS.get(repository.partition("/")[0]) or Faults()

    def corrupts(self, repository: str, faults: Faults) -> bool:
        """Count a transfer of the byte to be flipped, and say whether to flip it."""
        with self.lock:
            count = self.corrupted[repository] = self.corrupted.get(repository, 0) + 1
        return faults.corrupt_transfers is None or count <= faults.corrupt_transfers
