"""Whatever is cut, restarted or raced: the right bytes, and none of them twice."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_serving.weights.checksums import Algorithm, Checksum
from gemma_serving.weights.fetch import Request, fetch
from gemma_serving.weights.outcome import Reason, SourceUnavailableError, WeightsError
from gemma_serving.weights.progress import Progress
from gemma_serving.weights.source import Body, Listing, SourceFile
from gemma_serving.weights.transfer import Retry, Transfer
from gemma_serving.weights.volume import Volume

COMMIT = "c" * 40
NAME = "w.gguf"


def sha256_of(content: bytes) -> Checksum:
    return Checksum(Algorithm.SHA256, hashlib.sha256(content).hexdigest())


class CutSource:
    """A source in memory, each of whose transfers ends after the next number of bytes of a script."""

    repository = "a/b"

    def __init__(self, content: bytes, cuts: list[int], *, resumes: bool = True, chunk: int = 7) -> None:
        self.content = content
        self.cuts = cuts
        self.resumes = resumes
        self.chunk = chunk
        self.sent = 0
        self.file = SourceFile(NAME, len(content), sha256_of(content))

    def list(self, revision: str) -> Listing:
        return Listing(COMMIT, (self.file,))

    def check_access(self, commit: str, file: SourceFile) -> None:
        """Everybody may."""

    @contextmanager
    def read(self, commit: str, file: SourceFile, offset: int) -> Iterator[Body]:
        start = offset if self.resumes else 0
        yield Body(start, self._chunks(start, self.cuts.pop(0) if self.cuts else len(self.content)))

    def _chunks(self, start: int, limit: int) -> Iterator[bytes]:
        stop = min(start + limit, len(self.content))
        for position in range(start, stop, self.chunk):
            piece = self.content[position : min(position + self.chunk, stop)]
            self.sent += len(piece)
            yield piece
        if stop < len(self.content):
            raise SourceUnavailableError("cut")


def run(source: CutSource, target: Path, tries: int) -> Progress:
    """Fetch as often as a pod would be restarted, each time as a new process with what the volume holds."""
    for _ in range(tries):
        volume = Volume(target, source.repository)
        progress = Progress(volume.progress_file, write=lambda line: None)
        with suppress(WeightsError):
            fetch(Request("main", ("*",)), source, volume, progress, Retry((0.0,), lambda _: None))
            return progress
    raise AssertionError(f"not done after {tries} runs")


contents = st.binary(min_size=1, max_size=300)
scripts = st.lists(st.integers(min_value=0, max_value=100), max_size=20)


@given(contents, scripts)
@settings(deadline=None)
def test_cuts_and_restarts_send_every_byte_once(content: bytes, cuts: list[int]) -> None:
    with TemporaryDirectory() as folder:
        source = CutSource(content, list(cuts))
        progress = run(source, Path(folder), tries=len(cuts) + 1)
        assert (Path(folder) / "a--b" / "main" / NAME).read_bytes() == content
        assert source.sent == len(content)
        assert progress.bytes_done == progress.bytes_total == len(content)


@given(contents, scripts)
@settings(deadline=None)
def test_a_source_without_ranges_still_ends_with_the_right_bytes(content: bytes, cuts: list[int]) -> None:
    with TemporaryDirectory() as folder:
        source = CutSource(content, list(cuts), resumes=False)
        progress = run(source, Path(folder), tries=len(cuts) + 1)
        assert (Path(folder) / "a--b" / "main" / NAME).read_bytes() == content
        assert progress.bytes_done == len(content)


@given(contents, st.binary(max_size=300))
@settings(deadline=None)
def test_whatever_an_earlier_process_left_behind_the_result_is_right(content: bytes, rest: bytes) -> None:
    with TemporaryDirectory() as folder:
        source = CutSource(content, [])
        partial = Volume(Path(folder), source.repository).partial(source.file)
        partial.parent.mkdir(parents=True)
        partial.write_bytes(rest)
        run(source, Path(folder), tries=1)
        assert (Path(folder) / "a--b" / "main" / NAME).read_bytes() == content


class Meeting(CutSource):
    """Both transfers are under way before either goes on."""

    def __init__(self, content: bytes, barrier: threading.Barrier) -> None:
        super().__init__(content, [], chunk=64)
        self.barrier = barrier

    def _chunks(self, start: int, limit: int) -> Iterator[bytes]:
        for number, piece in enumerate(super()._chunks(start, limit)):
            if number == 1:
                self.barrier.wait(timeout=10)
            yield piece


def test_two_writers_whom_no_lock_keeps_apart_both_end_with_the_right_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 16
    barrier = threading.Barrier(2)

    def bring(_: int) -> str:
        source = Meeting(content, barrier)
        volume = Volume(tmp_path, source.repository)
        progress = Progress(tmp_path / "progress", write=lambda line: None)
        transfer = Transfer(source, volume, progress, Retry((), lambda _: None), COMMIT)
        return transfer.bring(source.file).sha256

    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(bring, range(2)))
    assert digests == [hashlib.sha256(content).hexdigest()] * 2
    assert (tmp_path / "a--b" / COMMIT / NAME).read_bytes() == content


def test_more_bytes_than_promised_are_corrupt(tmp_path: Path) -> None:
    source = CutSource(b"x" * 100, [])
    source.file = SourceFile(NAME, 50, sha256_of(b"x" * 50))
    volume = Volume(tmp_path, source.repository)
    progress = Progress(volume.progress_file, write=lambda line: None)
    with pytest.raises(WeightsError) as caught:
        fetch(Request("main", ("*",)), source, volume, progress, Retry((), lambda _: None))
    assert caught.value.reason is Reason.CORRUPT
    assert not (tmp_path / "a--b" / COMMIT / NAME).exists()
