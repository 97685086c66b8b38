"""A small model on a mirror of this process, and a fetcher that never sleeps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from gemma_devcluster.mirror import WeightsMirror
from gemma_serving.weights.fetch import Request, fetch
from gemma_serving.weights.huggingface import HuggingFaceSource
from gemma_serving.weights.outcome import Outcome
from gemma_serving.weights.progress import Progress
from gemma_serving.weights.transfer import Retry
from gemma_serving.weights.volume import Volume, free_bytes

REPOSITORY = "acme/tiny"
WEIGHTS = "tiny-Q4_K_M.gguf"
WEIGHTS_SIZE = 3_000_000
PATTERNS = ("*.gguf", "*.json")


def write_model(root: Path, repository: str = REPOSITORY) -> Path:
    """A model with weights, descriptions, and the two kinds of file that must never be fetched."""
    folder = root / repository
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(Random(270).randbytes(WEIGHTS_SIZE))
    (folder / "config.json").write_text('{"model_type": "gemma3_text"}')
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02pickle")
    (folder / "modeling_tiny.py").write_text("raise SystemExit('remote code ran')")
    return folder


@dataclass
class Fetcher:
    """Fetches from a mirror into one volume; keeps what was said and how long it would have waited."""

    mirror: WeightsMirror
    target: Path
    lines: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    delays: tuple[float, ...] = (1.0, 2.0)
    free: Callable[[Path], int] = free_bytes

    def fetch(
        self,
        repository: str = REPOSITORY,
        revision: str = "main",
        patterns: tuple[str, ...] = PATTERNS,
        token: str | None = None,
    ) -> Outcome:
        source = HuggingFaceSource(repository, self.mirror.url, token)
        volume = self.volume(repository)
        progress = Progress(volume.progress_file, write=self.lines.append)
        retry = Retry(self.delays, self.pauses.append)
        return fetch(Request(revision, patterns), source, volume, progress, retry)

    def volume(self, repository: str = REPOSITORY) -> Volume:
        return Volume(self.target, repository, self.free)

    def file(self, name: str = WEIGHTS, revision: str = "main", repository: str = REPOSITORY) -> Path:
        return self.volume(repository).root / revision / name

    def transfers(self) -> list[tuple[str | None, int]]:
        """Range and bytes sent of every transfer of the weights."""
        asked = [r for r in self.mirror.requests if r.method == "GET" and "/large-files/" in r.path]
        return [(request.range, request.sent) for request in asked]
