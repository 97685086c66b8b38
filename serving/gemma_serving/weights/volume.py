"""The volume: where files lie, which are whole, and who may write.

Two pods on one volume do not disturb each other: a lock file keeps them apart, and where a file system does
not honour it (flock succeeds for everybody on some network file systems), both write the same bytes to the
same offsets of the same partial file and rename it when its digest is right.
"""

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemma_serving.contract import repository_folder
from gemma_serving.weights.checksums import Algorithm
from gemma_serving.weights.source import SourceFile

MANIFEST = "manifest.json"
_LOCK_UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_LOCK_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A verified file; size in bytes, and what the source called its content where it was read by that."""

    name: str
    size: int
    sha256: str
    pin: str | None = None

    def holds(self, file: SourceFile) -> bool:
        """Whether it is the content of a source's file, under whatever revision that is listed."""
        promised = file.checksum
        if promised is not None and promised.algorithm is Algorithm.SHA256:
            return self.sha256 == promised.value
        return file.pin is not None and (self.name, self.pin) == (file.name, file.pin)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is verified in a commit's folder.

    Attributes:
        repository: `owner/name`, or the URI of a bucket's prefix.
        commit: full hash; of a bucket's prefix, a hash over its listing.
        patterns: what was asked for, so that the same question can be answered without the source.
        files: all files that these patterns name.
    """

    repository: str
    commit: str
    patterns: tuple[str, ...]
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def free_bytes(folder: Path) -> int:
    """What this user may still write to the file system."""
    return shutil.disk_usage(folder).free


class Volume:
    """The part of a volume that belongs to one source.

    Args:
        target: where the volume is mounted.
        repository: what the source calls itself.
        free: bytes that may still be written.
        folder: name of this part. Default: the repository's.
    """

    def __init__(
        self,
        target: Path,
        repository: str,
        free: Callable[[Path], int] = free_bytes,
        folder: str | None = None,
    ) -> None:
        self.target = target
        self.repository = repository
        self.root = target / (folder or repository_folder(repository))
        self._free = free

    def folder(self, commit: str) -> Path:
        """Where a commit's files lie."""
        return self.root / commit

    def partial(self, file: SourceFile) -> Path:
        """Where a file grows. Named by content: the next commit goes on with it if the file is the same."""
        return self.root / ".partial" / file.identity

    @property
    def progress_file(self) -> Path:
        """Where progress is written."""
        return self.root / "progress.json"

    def free(self) -> int:
        """Bytes that can still be written."""
        self.root.mkdir(parents=True, exist_ok=True)
        return self._free(self.root)

    def manifest(self, commit: str) -> Manifest | None:
        """The manifest of a commit's folder, or None where there is none that can be read."""
        try:
            fields = json.loads((self.folder(commit) / MANIFEST).read_text())
            files = tuple(StoredFile(**file) for file in fields["files"])
            return Manifest(fields["repository"], fields["commit"], tuple(fields["patterns"]), files)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def holds(self, commit: str, patterns: Sequence[str]) -> Manifest | None:
        """The manifest, if it answers all patterns and every file that it lists still has its size."""
        manifest = self.manifest(commit)
        # A branch's name leads to a folder too, but only the source knows whether it is still that commit.
        if manifest is None or manifest.commit != commit or not set(patterns) <= set(manifest.patterns):
            return None
        folder = self.folder(commit)
        whole = all(_size(folder / file.name) == file.size for file in manifest.files)
        return manifest if whole else None

    def write_manifest(self, manifest: Manifest) -> None:
        """Say that a commit's files are whole; files of earlier requests for the same commit stay listed."""
        earlier = self.manifest(manifest.commit)
        if earlier is not None:
            files = {file.name: file for file in (*earlier.files, *manifest.files)}
            patterns = tuple(dict.fromkeys((*earlier.patterns, *manifest.patterns)))
            manifest = Manifest(manifest.repository, manifest.commit, patterns, tuple(files.values()))
        write_atomically(self.folder(manifest.commit) / MANIFEST, json.dumps(_fields(manifest), indent=2))

    def linked_commit(self, revision: str) -> str | None:
        """The commit that a revision was last resolved to."""
        link = self.root / revision
        return Path(os.readlink(link)).name if link.is_symlink() else None

    def link(self, revision: str, commit: str) -> None:
        """Let `OWNER--NAME/REVISION` name a commit's folder, from one moment to the next."""
        link = self.root / revision
        if revision == commit or self.linked_commit(revision) == commit:
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        scratch = link.with_name(f".{link.name}.{uuid.uuid4().hex}")
        scratch.symlink_to(os.path.relpath(self.folder(commit), link.parent))
        scratch.replace(link)

    def twin(self, file: SourceFile) -> Path | None:
        """A verified file of another commit with the same content."""
        for path in self.root.glob(f"*/{MANIFEST}"):
            manifest = None if path.parent.is_symlink() else self.manifest(path.parent.name)
            for stored in manifest.files if manifest else ():
                candidate = path.parent / stored.name
                if stored.holds(file) and _size(candidate) == file.size:
                    return candidate
        return None

    def drop_partials_except(self, files: Sequence[SourceFile]) -> None:
        """Give back the space of transfers that nobody will go on with. Call with the lock held."""
        kept = {file.identity for file in files}
        for path in (self.root / ".partial").glob("*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, wait: Callable[[], None]) -> Iterator[None]:
        """Be the only one that writes; `wait` is called, again and again, while somebody else does."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a") as file:
            while not _try_lock(file.fileno()):
                wait()
            # Closing the file gives the lock back, and so does the death of this process.
            yield


def _fields(manifest: Manifest) -> dict[str, Any]:
    """Without what is not known, which versions before this one would not read."""
    return asdict(
        manifest, dict_factory=lambda pairs: {name: value for name, value in pairs if value is not None}
    )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCK_TAKEN:
            return False
        if error.errno not in _LOCK_UNSUPPORTED:
            raise
    return True


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with scratch.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
