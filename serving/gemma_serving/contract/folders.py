"""Where fetched files lie below a volume's root: the fetcher puts them there, the operator points at them."""

import hashlib
from urllib.parse import urlsplit

BUCKET_REVISION = "latest"
"""Names the revision that a bucket's prefix was last resolved to, as a branch does on a hub."""
_TOLD_APART = 16
"""Hexadecimal digits: two of a volume's sources never meet in one folder."""


def repository_folder(repository: str, server: str | None = None) -> str:
    """Folder of a hub's repository; with a server, of that server's, told from others of the same name.

    >>> repository_folder("google/gemma-3-270m")
    'google--gemma-3-270m'
    >>> repository_folder("team/tone", "http://hub.example")
    'team--tone--d78c0bbe790108dc'
    """
    name = repository.replace("/", "--")
    return name if server is None else f"{name}--{_digest(server.rstrip('/'))}"


def bucket_folder(uri: str, endpoint: str | None) -> str:
    """Folder of a prefix of a bucket; at another store the same URI is something else.

    >>> bucket_folder("gs://models/gemma-3-4b-it", None)
    'gs--models--8989c5777cf8cd74'
    """
    parts = urlsplit(uri)
    identity = "\n".join((uri.rstrip("/"), (endpoint or "").rstrip("/")))
    return f"{parts.scheme}--{parts.netloc}--{_digest(identity)}"


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:_TOLD_APART]
