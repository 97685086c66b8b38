"""API keys out of a mounted Secret: hashed, named, reloaded while requests run.

Each file of the folder is one consumer; its name is the consumer's. Each line of a file is one key, so that
an old and a new one can be valid together: `sha256:HEX` (or the key itself, which is hashed on reading and
warned about), then limits of its own as `requestsPerMinute=60`. Lines that begin with `#` are comments.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_serving.contract import KeyLimits

log = logging.getLogger(__name__)

RELOAD_SECONDS = 5.0
"""Between looks at the folder; the kubelet itself takes up to a minute to change it."""
HASH_PREFIX = "sha256:"
MIN_KEY_CHARACTERS = 16
"""A plain SHA-256 protects only what cannot be guessed."""
_LIMIT_NAMES = {
    "requestsPerMinute": "requests_per_minute",
    "requestsPerHour": "requests_per_hour",
    "tokensPerMinute": "tokens_per_minute",
    "tokensPerRequest": "tokens_per_request",
}


class KeyFileError(ValueError):
    """A line of a key file cannot be read; the text names file and line, never the key."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who asked."""

    name: str
    limits: KeyLimits


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a consumer."""

    digest: bytes
    consumer: Consumer


def hash_key(key: str) -> str:
    """What to store of a key."""
    return HASH_PREFIX + hashlib.sha256(key.encode()).hexdigest()


def read_keys(folder: Path, defaults: KeyLimits) -> list[Key]:
    """Every readable key; lines that cannot be read are logged and left out."""
    keys: list[Key] = []
    for path in _files(folder):
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            log.error("key file %s cannot be read: %s", path.name, error)
            continue
        for number, line in enumerate(lines, 1):
            try:
                key = _parse(line, path.name, defaults)
            except KeyFileError as error:
                log.error("key file %s, line %d: %s", path.name, number, error)
                continue
            keys += [key] if key is not None else []
    return keys


def _parse(line: str, name: str, defaults: KeyLimits) -> Key | None:
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    secret, *settings = words
    limits = replace(defaults, **dict(map(_limit, settings)))
    return Key(_digest(secret, name), Consumer(name, limits))


def _digest(secret: str, name: str) -> bytes:
    if not secret.startswith(HASH_PREFIX):
        if len(secret) < MIN_KEY_CHARACTERS:
            raise KeyFileError(f"a key needs at least {MIN_KEY_CHARACTERS} characters")
        log.warning("a key of %s is stored in plain text: store its hash instead (docs/gateway.md)", name)
        return hashlib.sha256(secret.encode()).digest()
    try:
        digest = bytes.fromhex(secret.removeprefix(HASH_PREFIX))
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise KeyFileError("sha256: must be followed by 64 hexadecimal digits")
    return digest


def _limit(setting: str) -> tuple[str, int]:
    name, _, value = setting.partition("=")
    if name not in _LIMIT_NAMES or not value.isdigit() or not int(value):
        raise KeyFileError(
            f"unknown setting; known: {', '.join(_LIMIT_NAMES)}, each with a whole number above 0"
        )
    return _LIMIT_NAMES[name], int(value)


def _files(folder: Path) -> list[Path]:
    """The Secret's own files; the kubelet's bookkeeping begins with two dots."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("..") and path.is_file())
    except OSError:
        return []


class KeyRing:
    """The keys that are valid now. A missing or empty folder lets nobody in."""

    def __init__(self, folder: Path, defaults: KeyLimits) -> None:
        self._folder = folder
        self._defaults = defaults
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._keys: list[Key] = []
        self.reload()

    def find(self, presented: str) -> Consumer | None:
        """Whose key it is; takes as long for a wrong key as for a right one."""
        digest = hashlib.sha256(presented.encode()).digest()
        found: Consumer | None = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.consumer
        return found

    def consumers(self) -> Iterable[str]:
        """Names of everybody who has a key."""
        return sorted({key.consumer.name for key in self._keys})

    def reload(self) -> bool:
        """Read the folder again if it changed; whether it did."""
        state = tuple(
            (path.name, status.st_mtime_ns, status.st_ino)
            for path in _files(self._folder)
            for status in [path.stat()]
        )
        if state == self._seen:
            return False
        self._seen = state
        self._keys = read_keys(self._folder, self._defaults)
        log.info("%d API keys of %d consumers are valid", len(self._keys), len(list(self.consumers())))
        if not self._keys:
            log.error("no API key in %s: every request is refused", self._folder)
        return True

    async def refresh(self) -> None:
        """Reload beside the event loop."""
        try:
            await asyncio.to_thread(self.reload)
        except OSError as error:
            log.warning("the key folder changed while it was read: %s", error)
