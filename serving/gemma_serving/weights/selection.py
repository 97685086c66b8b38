"""Which files of a repository are fetched: what the patterns name, and never what can run code."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from gemma_serving.weights.outcome import Reason, WeightsError
from gemma_serving.weights.source import SourceFile

WEIGHT_SUFFIXES = frozenset({".safetensors", ".gguf"})
# Configuration, chat template, SentencePiece model: data that no loader executes.
DESCRIPTION_SUFFIXES = frozenset({".json", ".jinja", ".model"})
TOKENIZER_TEXTS = frozenset({"merges.txt", "vocab.txt"})
SHOWN_FILES = 12


def is_data(name: str) -> bool:
    """Whether a file is weights or their description; pickles (`.bin`, `.pt`) and code are neither."""
    path = PurePosixPath(name)
    return path.suffix in WEIGHT_SUFFIXES | DESCRIPTION_SUFFIXES or path.name in TOKENIZER_TEXTS


def select(repository: str, files: Sequence[SourceFile], patterns: Sequence[str]) -> list[SourceFile]:
    """The files that the patterns name, in the repository's order.

    A pattern for descriptions (`tokenizer.model`) may match nothing: families differ. One for weights must.

    Raises:
        WeightsError: a pattern matches nothing, or only files that could run code.
    """
    allowed = [file for file in files if is_data(file.name)]
    for pattern in patterns:
        if not any(fnmatchcase(file.name, pattern) for file in allowed) and not _is_optional(pattern):
            raise WeightsError(Reason.NOT_FOUND, _nothing_matches(repository, files, pattern))
    selected = [file for file in allowed if any(fnmatchcase(file.name, pattern) for pattern in patterns)]
    if not selected:
        raise WeightsError(Reason.NOT_FOUND, _nothing_matches(repository, files, ", ".join(patterns)))
    outside = next((file for file in selected if not file.is_inside), None)
    if outside is not None:
        message = (
            f"{repository} lists a file outside of its own folder ({outside.name!r}); nothing was fetched"
        )
        raise WeightsError(Reason.FETCH_FAILED, message)
    return selected


def _is_optional(pattern: str) -> bool:
    return PurePosixPath(pattern).suffix in DESCRIPTION_SUFFIXES or pattern in TOKENIZER_TEXTS


def _nothing_matches(repository: str, files: Sequence[SourceFile], pattern: str) -> str:
    refused = [file.name for file in files if fnmatchcase(file.name, pattern)]
    if refused:
        return (
            f"{pattern!r} matches only {refused[0]} in {repository}, a format that can run code when loaded; "
            "only safetensors, GGUF and their configuration are fetched: convert it or use another source"
        )
    names = [file.name for file in files if is_data(file.name)]
    near = difflib.get_close_matches(pattern, names, n=SHOWN_FILES, cutoff=0.3)
    shown = [*near, *(name for name in names if name not in near)]
    more = f" and {len(shown) - SHOWN_FILES} more" if len(shown) > SHOWN_FILES else ""
    there = ", ".join(shown[:SHOWN_FILES]) + more or "no file that may be fetched"
    other = f": for another one, name it in the URI, as {repository}/FILE.gguf" if "://" in repository else ""
    return f"no file of {repository} matches {pattern!r}; it has {there}{other}"
