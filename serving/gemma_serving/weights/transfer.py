"""One file: resumed, hashed as it streams, and put in its place only when its digest is right."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from gemma_serving.weights.checksums import Algorithm, begin
from gemma_serving.weights.outcome import Reason, SourceUnavailableError, WeightsError, human_bytes
from gemma_serving.weights.progress import Progress
from gemma_serving.weights.source import Source, SourceFile
from gemma_serving.weights.volume import StoredFile, Volume

READ_BYTES = 1024 * 1024
ATTEMPTS = 2
"""A corrupt file is fetched again once: a flipped bit on the way is gone then, one at the source is not."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a source that does not answer is asked again.

    Attributes:
        delays: seconds before each further try; bytes that arrive start the series anew.
        pause: waits that long.
    """

    delays: Sequence[float]
    pause: Callable[[float], None]

    def run(self, attempt: Callable[[], T], note: Callable[[str], None], moved: Callable[[], int]) -> T:
        """Call until it answers.

        Args:
            attempt: raises SourceUnavailableError when it is worth another try.
            note: told about each failure.
            moved: grows while tries get further.

        Raises:
            SourceUnavailableError: the last one, when the delays are used up.
        """
        failures, position = 0, moved()
        while True:
            try:
                return attempt()
            except SourceUnavailableError as error:
                if moved() > position:
                    failures, position = 0, moved()
                if failures == len(self.delays):
                    raise
                note(f"{error}; trying again in {self.delays[failures]:.0f} s")
                self.pause(self.delays[failures])
                failures += 1


class Digests:
    """SHA-256 of a file as its bytes go by, and the checksum that the source promises where it is another."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._size = 0
        self._sha256 = hashlib.sha256()
        promised = file.checksum
        is_another = promised is not None and promised.algorithm is not Algorithm.SHA256
        self._other = begin(promised.algorithm, file.size) if promised is not None and is_another else None

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._size += len(chunk)
        self._sha256.update(chunk)
        if self._other is not None:
            self._other.update(chunk)

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""
        return self._sha256.hexdigest()

    def match(self) -> bool:
        """Whether these are the bytes that the source promised, as far as it promised any."""
        promised = self._file.checksum
        found = self.sha256 if self._other is None else self._other.hexdigest()
        return self._size == self._file.size and (promised is None or found == promised.value)

    def stored(self) -> StoredFile:
        """What the manifest says of the file."""
        return StoredFile(self._file.name, self._file.size, self.sha256, self._file.pin)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Brings files of one commit onto the volume."""

    source: Source
    volume: Volume
    progress: Progress
    retry: Retry
    commit: str

    def bring(self, file: SourceFile) -> StoredFile:
        """Have the file verified in its place.

        Raises:
            WeightsError: it is corrupt at the source too, or the volume is full.
            SourceUnavailableError: the source stopped answering; what has arrived is kept.
        """
        place = self.volume.folder(self.commit) / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        stored = self._already_there(file, place)
        for _ in range(0 if stored else ATTEMPTS):
            with _full_volume(self.volume, file):
                stored = self._download(file, place)
            if stored is not None:
                break
        if stored is None:
            promised = file.checksum
            given = f" ({promised.algorithm} {promised.value[:12]}…)" if promised else ""
            raise WeightsError(
                Reason.CORRUPT,
                f"{file.name} of {self.source.repository} arrived {ATTEMPTS} times with another checksum "
                f"than the source gives{given}; it was deleted: check the mirror or proxy",
            )
        return stored

    def bytes_present(self, file: SourceFile) -> int:
        """Bytes of the file that need no transfer, as far as sizes tell."""
        for path in (self.volume.folder(self.commit) / file.name, self.volume.partial(file)):
            if path.is_file():
                return min(path.stat().st_size, file.size)
        return 0

    def _already_there(self, file: SourceFile, place: Path) -> StoredFile | None:
        """The file from a run that was ended before the manifest, or from another commit."""
        if not place.is_file() and (twin := self.volume.twin(file)) is not None:
            self.progress.note(
                f"{file.name} is unchanged since commit {twin.relative_to(self.volume.root).parts[0]}"
            )
            _link(twin, place)
            self.progress.advance(place.stat().st_size)
        if not place.is_file():
            return None
        digests = Digests(file)
        with place.open("rb") as opened:
            _take(digests, opened)
        if digests.match():
            return digests.stored()
        self.progress.note(
            f"{file.name} on the volume has another checksum than the source's; it was deleted"
        )
        self.progress.take_back(min(place.stat().st_size, file.size))
        place.unlink()
        return None

    def _download(self, file: SourceFile, place: Path) -> StoredFile | None:
        """Fetch what is missing; None (and no partial file) if the digest is wrong."""
        partial = self.volume.partial(file)
        partial.parent.mkdir(exist_ok=True)
        with partial.open("r+b" if partial.exists() else "w+b") as growing:
            digests = Growth(self, file, growing).to_the_end()
            growing.flush()
            os.fsync(growing.fileno())
        if digests.match():
            _put_in_place(partial, place, file)
            return digests.stored()
        self.progress.note(f"{file.name} arrived with another checksum than the source's; it was deleted")
        self.progress.take_back(file.size)
        partial.unlink(missing_ok=True)
        return None


class Growth:
    """A partial file and the digests of what it holds."""

    def __init__(self, transfer: Transfer, file: SourceFile, growing: BinaryIO) -> None:
        self._transfer = transfer
        self._file = file
        self._growing = growing
        self._digests = Digests(file)
        self._size = _take(self._digests, growing)

    def to_the_end(self) -> Digests:
        """Append until the file has its size; returns the digests of all of it."""
        retry, progress = self._transfer.retry, self._transfer.progress
        retry.run(self._append, progress.note, lambda: self._size)
        return self._digests

    def _append(self) -> None:
        if self._size >= self._file.size:
            return
        transfer = self._transfer
        with transfer.source.read(transfer.commit, self._file, self._size) as body:
            if body.offset != self._size:
                self._start_over()
            for chunk in body.chunks:
                self._growing.write(chunk)
                self._digests.update(chunk)
                self._size += len(chunk)
                transfer.progress.advance(len(chunk))
                if self._size > self._file.size:
                    # More than was promised cannot be right: leave it to the digest.
                    return
        if self._size < self._file.size:
            missing = human_bytes(self._file.size - self._size)
            raise SourceUnavailableError(f"the transfer of {self._file.name} ended {missing} early")

    def _start_over(self) -> None:
        self._transfer.progress.take_back(self._size)
        self._growing.seek(0)
        self._size, self._digests = 0, Digests(self._file)


def _take(digests: Digests, opened: BinaryIO) -> int:
    """Feed a file to its digests; returns its size."""
    size = 0
    while chunk := opened.read(READ_BYTES):
        digests.update(chunk)
        size += len(chunk)
    return size


def _put_in_place(partial: Path, place: Path, file: SourceFile) -> None:
    try:
        partial.replace(place)
    except FileNotFoundError:
        # Another writer, whom no lock kept out, has put the same bytes there already.
        if not place.is_file() or place.stat().st_size != file.size:
            raise


def _link(twin: Path, place: Path) -> None:
    try:
        place.hardlink_to(twin)
    except OSError:
        # Object storage behind a file system has no hard links.
        place.symlink_to(os.path.relpath(twin, place.parent))


@contextmanager
def _full_volume(volume: Volume, file: SourceFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        message = f"the volume at {volume.target} was full while {file.name} was written; make it larger"
        raise WeightsError(Reason.NO_SPACE, message) from error
