"""Blocked terms: all of them in one pass over the text, as whole words.

Each file of the folder is a list, and its name the policy that metrics and logs give. One term per line;
`#` begins a comment; `*` at an end of a term lets the word go on there. A term matches whole words: `legal`
blocks neither "illegal" nor "legally". Scripts that write no spaces between words are matched anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import ahocorasick

from gemma_serving.gateway.safety.text import folded

log = logging.getLogger(__name__)

_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF)),
    *((0x3400, 0x9FFF), (0xAC00, 0xD7AF), (0x20000, 0x3FFFF)),
)
"""Thai and Lao, Burmese, Khmer, kana, Han, Hangul (particles join on), Han extensions."""


@dataclass(frozen=True, slots=True)
class Term:
    """One blocked term."""

    text: str
    """Folded, without `*`."""
    policy: str
    open_start: bool
    open_end: bool


def parse_term(line: str, policy: str) -> Term | None:
    """A line of a list; None for a comment or an empty line."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    text = folded(line.strip("*").strip())
    return Term(text, policy, line.startswith("*"), line.endswith("*")) if text else None


def read_terms(folder: Path) -> list[Term]:
    """Every term of a mounted ConfigMap; raises OSError."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("..") and path.is_file())
    parsed = (parse_term(line, path.name) for path in files for line in path.read_text().splitlines())
    return [term for term in parsed if term is not None]


class BlockedTerms:
    """Finds the first blocked term in a text."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self._automaton = ahocorasick.Automaton()
        by_text: dict[str, list[Term]] = {}
        for term in terms:
            by_text.setdefault(term.text, []).append(term)
        for text, group in by_text.items():
            self._automaton.add_word(text, group)
        self._automaton.make_automaton()
        self.longest = max(map(len, by_text), default=0)
        """Characters of the longest term, folded."""

    def find(self, text: str) -> Term | None:
        """The first blocked term in `text`, which need not be folded."""
        return self.find_folded(folded(text)) if self.longest else None

    def find_folded(self, text: str) -> Term | None:
        """The first blocked term in folded text."""
        if not self.longest:
            return None
        for end, group in self._automaton.iter(text):
            for term in group:
                start = end - len(term.text) + 1
                if (term.open_start or _edge(text, start - 1, start)) and (
                    term.open_end or _edge(text, end + 1, end)
                ):
                    found: Term = term
                    return found
        return None


def _edge(text: str, outside: int, inside: int) -> bool:
    """Whether a word ends between two neighbouring places."""
    if not 0 <= outside < len(text):
        return True
    return not is_word(text[outside]) or not is_word(text[inside]) or _is_unspaced(text[inside])


def is_word(char: str) -> bool:
    """Whether a character is part of a word."""
    return char.isalnum() or char == "_"


def _is_unspaced(char: str) -> bool:
    code = ord(char)
    return any(first <= code <= last for first, last in _UNSPACED)
