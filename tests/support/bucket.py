"""A small checkpoint in a bucket of either store, and a fetcher that never sleeps."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from gemma_serving.contract import BUCKET_REVISION, bucket_folder
from gemma_serving.weights.fetch import Request, fetch
from gemma_serving.weights.gcs import GcsSource
from gemma_serving.weights.google_identity import GoogleIdentity
from gemma_serving.weights.outcome import Outcome
from gemma_serving.weights.progress import Progress
from gemma_serving.weights.s3 import S3Source
from gemma_serving.weights.source import Source
from gemma_serving.weights.transfer import Retry
from gemma_serving.weights.volume import Volume
from support.object_store import ObjectStore, Stored

BUCKET, FOLDER = "team-models", "gemma/tiny"
WEIGHTS = "model.safetensors"
WEIGHTS_KEY = f"{FOLDER}/{WEIGHTS}"
WEIGHTS_SIZE = 3_000_000
PATTERNS = ("*.safetensors", "*.json", "tokenizer.model")


def weights(seed: int = 270) -> bytes:
    return Random(seed).randbytes(WEIGHTS_SIZE)


def fill(store: ObjectStore) -> None:
    """A checkpoint, the two kinds of file that must never be fetched, and a neighbour of a similar name."""
    store.put(BUCKET, WEIGHTS_KEY, Stored(weights()))
    store.put(BUCKET, f"{FOLDER}/config.json", Stored(b'{"model_type": "gemma3_text"}'))
    store.put(BUCKET, f"{FOLDER}/", Stored(b""))
    store.put(BUCKET, f"{FOLDER}/pytorch_model.bin", Stored(b"\x80\x02pickle"))
    store.put(BUCKET, f"{FOLDER}/modeling_tiny.py", Stored(b"raise SystemExit('remote code ran')"))
    store.put(BUCKET, f"{FOLDER}-older/{WEIGHTS}", Stored(b"another checkpoint"))


@dataclass
class BucketFetcher:
    """Fetches from a bucket into one volume; keeps what was said and how long it would have waited."""

    store: ObjectStore
    scheme: str
    target: Path
    lines: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{BUCKET}/{FOLDER}"

    def source(self, uri: str) -> Source:
        if self.scheme == "gs":
            return GcsSource(uri, self.store.url, GoogleIdentity(self.store.host))
        return S3Source(uri, self.store.url)

    def fetch(self, uri: str | None = None, patterns: tuple[str, ...] = PATTERNS) -> Outcome:
        uri = uri or self.uri
        volume = self.volume(uri)
        progress = Progress(volume.progress_file, write=self.lines.append)
        retry = Retry((1.0, 2.0), self.pauses.append)
        return fetch(Request(BUCKET_REVISION, patterns), self.source(uri), volume, progress, retry)

    def volume(self, uri: str | None = None) -> Volume:
        uri = uri or self.uri
        return Volume(self.target, uri, folder=bucket_folder(uri, self.store.url))

    def folder(self, uri: str | None = None) -> Path:
        """Where the engine looks."""
        return self.volume(uri).root / BUCKET_REVISION

    def transfers(self) -> list[tuple[str | None, int]]:
        return self.store.transfers(WEIGHTS_KEY)
