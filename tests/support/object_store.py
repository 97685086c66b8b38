"""An object store in this process: S3 (path style), Cloud Storage's JSON API, and what knows pods.

Wire formats are those of the public API references; the S3 half is read by AWS's own client.
"""

import hashlib
import ssl
import threading
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Self

import anycrc

ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "AKIAEXAMPLE", "planted/secret+key", "planted-session-token"
SERVICE_ACCOUNT_TOKEN = "planted.service-account.token"
GOOGLE_TOKEN = "ya29.planted-token"
POD_IDENTITY_PATH = "/v1/credentials"
PAGE_KEYS = 1000


def _crc(model: str, bits: int, content: bytes) -> str:
    return b64encode(anycrc.Model(model).calc(content).to_bytes(bits // 8, "big")).decode()


@dataclass
class Stored:
    """One object.

    Attributes:
        content: its bytes.
        parts: how many it came in; above 1 the entity tag is no MD5.
        checksum: which one S3 keeps: `sha256`, `crc64nvme`, `crc32`, or "" for none.
        composite: that checksum is over those of the parts.
        encryption: as in x-amz-server-side-encryption.
        encoding: as in Content-Encoding.
        generation: of Cloud Storage.
    """

    content: bytes
    parts: int = 1
    checksum: str = ""
    composite: bool = False
    encryption: str = ""
    encoding: str = ""
    generation: int = 1

    @property
    def md5(self) -> bytes:
        return hashlib.md5(self.content, usedforsecurity=False).digest()

    @property
    def etag(self) -> str:
        """Of S3, quoted. An MD5 that is none where a key of its owner encrypts it."""
        if self.encryption:
            return f'"{hashlib.md5(self.content + b"key", usedforsecurity=False).hexdigest()}"'
        return f'"{self.md5.hex()}{f"-{self.parts}" if self.parts > 1 else ""}"'

    @property
    def crc32c(self) -> str:
        return _crc("CRC32C", 32, self.content)

    @property
    def s3_checksum(self) -> str:
        """In base64, as the header has it."""
        if self.composite:
            return f"{b64encode(self.md5).decode()}-{self.parts}"
        if self.checksum == "sha256":
            return b64encode(hashlib.sha256(self.content).digest()).decode()
        if self.checksum == "crc32":
            return b64encode(zlib.crc32(self.content).to_bytes(4, "big")).decode()
        return _crc("CRC64-NVME", 64, self.content)


@dataclass
class Misbehaviour:
    """What the store does wrong.

    Attributes:
        status: answer everything with it.
        keeps_out: let in only who is known.
        forbids: let nobody in, known or not.
        cut_after_bytes: break off every transfer that begins below this offset after so many bytes.
        corrupt_at: flip the byte at this offset of every object of at least that size.
        corrupt_times: so often.
        bytes_per_second: pace of transfers.
    """

    status: int | None = None
    keeps_out: bool = False
    forbids: bool = False
    cut_after_bytes: int | None = None
    corrupt_at: int | None = None
    corrupt_times: int = 1_000
    bytes_per_second: int | None = None


@dataclass(frozen=True)
class Asked:
    """One request for the bytes of an object."""

    key: str
    wanted: str | None
    sent: int


@dataclass
class StoreState:
    """What all connections share."""

    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    faults: Misbehaviour = field(default_factory=Misbehaviour)
    asked: list[Asked] = field(default_factory=list)
    tokens_given: int = 0
    token_status: int = 200
    before_read: Callable[[str], None] = field(default=lambda key: None)
    """Called with the key of each object before its bytes are looked up."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def listed(self, bucket: str, prefix: str, after: str) -> list[tuple[str, Stored]]:
        """A page of objects in the order of their keys, and one more where there is another page."""
        objects = sorted(self.buckets[bucket].items())
        return [each for each in objects if each[0].startswith(prefix) and each[0] > after][: PAGE_KEYS + 1]

    def pieces(self, stored: Stored, start: int, stop: int, chunk: int = 65536) -> Iterator[bytes]:
        """The bytes of a transfer, as far as the faults let it go."""
        faults, content = self.faults, bytearray(stored.content)
        if faults.corrupt_at is not None and start <= faults.corrupt_at < stop and faults.corrupt_times:
            faults.corrupt_times -= 1
            content[faults.corrupt_at] ^= 0xFF
        if faults.cut_after_bytes is not None and start < faults.cut_after_bytes:
            stop = min(stop, start + faults.cut_after_bytes)
        for position in range(start, stop, chunk):
            yield bytes(content[position : min(position + chunk, stop)])


class ObjectStore:
    """Serves until it is closed.

    >>> with ObjectStore() as store:  # doctest: +SKIP
    ...     store.put("models", "gemma/config.json", Stored(b"{}"))
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        # The handlers read this module.
        from support.object_store_wire import StoreHandler  # noqa: PLC0415

        self.state = StoreState()
        handler = type("Handler", (StoreHandler,), {"state": self.state})
        self._server = ThreadingHTTPServer(address, handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    @property
    def host(self) -> str:
        address, port = self._server.server_address[:2]
        return f"{address!s}:{port}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def put(self, bucket: str, key: str, stored: Stored) -> None:
        """Store an object; one that is there gets another generation."""
        objects = self.state.buckets.setdefault(bucket, {})
        if key in objects:
            stored.generation = objects[key].generation + 1
        objects[key] = stored

    def misbehave(self, faults: Misbehaviour) -> None:
        self.state.faults = faults

    def transfers(self, key: str) -> list[tuple[str | None, int]]:
        """Range and bytes sent of every transfer of an object, but for looks at its first byte."""
        with self.state.lock:
            asked = list(self.state.asked)
        return [(each.wanted, each.sent) for each in asked if each.key == key and each.wanted != "bytes=0-0"]

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
