"""Where fetched files lie below a volume's root: the fetcher puts them there, the operator points at them."""

import hashlib
from urllib.parse import urlsplit

BUCKET_REVISION = "latest"
"""Names the revision that a bucket's prefix was last resolved to, as a branch does on a hub."""
_TOLD_APART = 16
"""Hexadecimal digits: two of a volume's sources never meet in one folder."""


def repository_folder(repository: str) -> str:
    """Folder of a hub's repository.

    >>> repository_folder("google/gemma-3-270m")
    'google--gemma-3-270m'
    """
    return repository.replace("/", "--")


def bucket_folder(uri: str, endpoint: str | None) -> str:
    """Folder of a prefix of a bucket; at another store the same URI is something else.

    >>> bucket_folder("gs://models/gemma-3-4b-it", None)
    'gs--models--8989c5777cf8cd74'
    """
    parts = urlsplit(uri)
    identity = "\n".join((uri.rstrip("/"), (endpoint or "").rstrip("/")))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_TOLD_APART]
    return f"{parts.scheme}--{parts.netloc}--{digest}"
