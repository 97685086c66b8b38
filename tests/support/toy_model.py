"""A language model small enough to reason about, for doubles of engine libraries: a tokenizer, logits, and
real sampling.

The next token depends on the last one only, so greedy text soon repeats. Characters outside the word list
take one token per UTF-8 byte. A constraint is met by forcing one text that satisfies it, then the end.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import re._constants as regex_codes
import re._parser as regex_parser
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

PAD, EOS, BOS, END_OF_TURN = 0, 1, 2, 106
SPECIAL: Final = {"<pad>": PAD, "<eos>": EOS, "<bos>": BOS, "<end_of_turn>": END_OF_TURN}
FIRST_BYTE: Final = 200
FIRST_WORD: Final = 500
SYLLABLES: Final = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru")
WORDS: Final = [" word", "word", *(f" {a}{b}" for a in SYLLABLES for b in SYLLABLES)]
CANDIDATES: Final = range(FIRST_WORD + 2, FIRST_WORD + 42)
"""What free text is made of."""

_TEXTS: Final[dict[int, bytes]] = {
    **{FIRST_BYTE + byte: bytes([byte]) for byte in range(256)},
    **{FIRST_WORD + number: word.encode() for number, word in enumerate(WORDS)},
}
_SPECIAL_PATTERN: Final = re.compile("(" + "|".join(map(re.escape, SPECIAL)) + ")")
_WORD_PATTERN: Final = re.compile("|".join(sorted(map(re.escape, WORDS), key=len, reverse=True)))
_IDS: Final = {word: FIRST_WORD + number for number, word in enumerate(WORDS)}


def encode(text: str, add_special_tokens: bool = True) -> list[int]:
    """Return the ids, with BOS in front as Gemma's tokenizers put it."""
    ids = [BOS] if add_special_tokens else []
    for part in _SPECIAL_PATTERN.split(text):
        if part in SPECIAL:
            ids.append(SPECIAL[part])
            continue
        at = 0
        while at < len(part):
            word = _WORD_PATTERN.match(part, at)
            if word:
                ids.append(_IDS[word.group()])
                at = word.end()
            else:
                ids += [FIRST_BYTE + byte for byte in part[at].encode()]
                at += 1
    return ids


def decode(ids: Sequence[int]) -> str:
    """Return the text; special tokens have none."""
    return b"".join(_TEXTS.get(token, b"") for token in ids).decode(errors="replace")


@dataclass
class Wish:
    """What one sequence asks for."""

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = (EOS, END_OF_TURN)
    forced: list[int] = field(default_factory=list)
    """Tokens that a constraint dictates."""


class ToySequence:
    """One sequence under way."""

    def __init__(self, prompt: list[int], wish: Wish) -> None:
        self.prompt = prompt
        self.wish = wish
        self.tokens: list[int] = []
        self._random = random.Random(wish.seed)
        self._forced = list(wish.forced)

    def step(self) -> tuple[int, dict[int, float]]:
        """Generate a token; return it and the log probabilities before sampling, best first."""
        logits = self._logits()
        norm = math.log(sum(math.exp(value) for value in logits.values()))
        logprobs = {token: value - norm for token, value in sorted(logits.items(), key=lambda item: -item[1])}
        token = self._forced.pop(0) if self._forced else self._sample(logits)
        logprobs.setdefault(token, -30.0)
        self.tokens.append(token)
        return token, logprobs

    def _logits(self) -> dict[int, float]:
        last = (self.prompt + self.tokens)[-1]
        digest = hashlib.sha256(f"{last}".encode()).digest()
        return {token: digest[index % 32] / 40 + index / 1000 for index, token in enumerate(CANDIDATES)}

    def _sample(self, logits: dict[int, float]) -> int:
        wish = self.wish
        seen = self.prompt + self.tokens
        for token in set(seen) & set(logits):
            scale = wish.repetition_penalty
            logits[token] = logits[token] / scale if logits[token] > 0 else logits[token] * scale
        for token in set(self.tokens) & set(logits):
            logits[token] -= wish.presence_penalty + wish.frequency_penalty * self.tokens.count(token)
        ranked = sorted(logits.items(), key=lambda item: -item[1])
        if wish.temperature == 0:
            return ranked[0][0]
        best = ranked[0][1]
        weights = [(token, math.exp((value - best) / wish.temperature)) for token, value in ranked]
        weights = [(token, weight) for token, weight in weights if weight >= wish.min_p]
        weights = weights[: wish.top_k or None]
        total, kept, mass = sum(weight for _, weight in weights), [], 0.0
        for token, weight in weights:
            kept.append((token, weight))
            mass += weight / total
            if mass >= wish.top_p:
                break
        return self._random.choices([token for token, _ in kept], [weight for _, weight in kept])[0]


def forced_by_regex(pattern: str) -> list[int]:
    """Return the tokens of one text that the pattern matches, and the end; ValueError if it is broken."""
    try:
        text = _example(regex_parser.parse(pattern))
    except re.error as error:
        raise ValueError(f"regex: {error}") from error
    assert re.fullmatch(pattern, text), (
        "the toy model understands less of regular expressions than the test asks"
    )
    return [*encode(text, add_special_tokens=False), EOS]


def forced_by_schema(schema: dict[str, Any]) -> list[int]:
    """Return the tokens of one value that the schema allows, and the end; ValueError for a broken schema."""
    return [*encode(json.dumps(_value(schema)), add_special_tokens=False), EOS]


def forced_by_grammar(grammar: str) -> list[int]:
    """Return the tokens of the one text of `root ::= "text"`, and the end; ValueError for anything else."""
    literal = re.fullmatch(r'root ::= "([^"]*)"\s*', grammar)
    if literal is None:
        raise ValueError(f"grammar: cannot parse {grammar!r}")
    return [*encode(literal.group(1), add_special_tokens=False), EOS]


def _example(tree: Any) -> str:
    text = ""
    for code, argument in tree:
        if code is regex_codes.LITERAL:
            text += chr(argument)
        elif code is regex_codes.IN:
            first = argument[0]
            text += chr(first[1][0] if first[0] is regex_codes.RANGE else first[1])
        elif code is regex_codes.MAX_REPEAT:
            text += _example(argument[2]) * argument[0]
        elif code is regex_codes.SUBPATTERN:
            text += _example(argument[3])
        else:
            raise NotImplementedError(str(code))
    return text


def _value(schema: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return {name: _value(part) for name, part in schema.get("properties", {}).items()}
    if kind in ("string", "integer"):
        return "Ada" if kind == "string" else 36
    raise ValueError(f"schema: unknown type {kind!r}")
