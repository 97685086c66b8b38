"""Scores of a sample of the answers, as metrics: opt-in, after the answer was sent, never in its way.

Scorers are plug-ins: the entry point group `gemma_serving.scorers` adds to those here. Each gives a number
from 0 to 1 or None where it has nothing to say.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from prometheus_client import Histogram

from gemma_serving.gateway.metrics import Metrics
from gemma_serving.gateway.safety.filters import Safety
from gemma_serving.gateway.safety.guard import GuardError
from gemma_serving.gateway.safety.text import folded

log = logging.getLogger(__name__)

ENTRY_POINTS = "gemma_serving.scorers"
MAX_WAITING = 32
"""Samples that wait to be scored; more are let go, so that scoring never grows a queue."""
BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MIN_WORDS = 5
"""Shorter answers say nothing about coherence."""
_WORD = re.compile(r"\w+")
_STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "could",
        "do",
        "does",
        "for",
        "from",
        "give",
        "has",
        "have",
        "how",
        "i",
        "in",
        "is",
        "it",
        "me",
        "my",
        "of",
        "on",
        "or",
        "please",
        "so",
        "tell",
        "that",
        "the",
        "their",
        "there",
        "this",
        "to",
        "was",
        "we",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One question and its answer; kept in memory until it is scored, never written anywhere."""

    question: str
    answer: str
    reference: str | None = None
    """What the answer should say, where the request's metadata gave it (`reference_answer`)."""


Scorer = Callable[[Sample], float | None]
AsyncScorer = Callable[[Sample], Awaitable[float | None]]


def relevance(sample: Sample) -> float | None:
    """Share of the question's content words that the answer takes up."""
    asked = set(words(sample.question)) - _STOP_WORDS
    return len(asked & set(words(sample.answer))) / len(asked) if asked else None


def coherence(sample: Sample) -> float | None:
    """One less the share of repeated word triples: what a model that goes in circles scores low on."""
    said = words(sample.answer)
    if len(said) < MIN_WORDS:
        return None
    triples = list(zip(said, said[1:], said[2:], strict=False))
    return len(set(triples)) / len(triples)


def reference_overlap(sample: Sample) -> float | None:
    """F1 of the words shared with the reference (as in SQuAD)."""
    if sample.reference is None:
        return None
    said, wanted = Counter(words(sample.answer)), Counter(words(sample.reference))
    shared = sum((said & wanted).values())
    if not shared:
        return 0.0
    precision, recall = shared / sum(said.values()), shared / sum(wanted.values())
    return 2 * precision * recall / (precision + recall)


def words(text: str) -> list[str]:
    """Words of a text, folded."""
    return _WORD.findall(folded(text))


def scorers() -> Mapping[str, Scorer]:
    """The built-in scorers and those of installed packages."""
    found: dict[str, Scorer] = {
        "relevance": relevance,
        "coherence": coherence,
        "reference_overlap": reference_overlap,
    }
    for point in entry_points(group=ENTRY_POINTS):
        found[point.name] = point.load()
    return found


class Quality:
    """Samples answers and scores them in the background."""

    def __init__(self, percent: float, metrics: Metrics, safety: Safety) -> None:
        self._share = percent / 100
        self._model = metrics.model
        self._safety = safety
        self._scorers = scorers()
        self._waiting: asyncio.Queue[Sample] = asyncio.Queue(MAX_WAITING)
        self._random = random.Random()
        self._scores = Histogram(
            "gemma_quality_score",
            "Scores of sampled answers, from 0 to 1.",
            ["model", "scorer"],
            buckets=BOUNDS,
            registry=metrics.registry,
        )

    def offer(self, sample: Sample) -> None:
        """Take the answer into the sample, by chance and while there is room."""
        if self._random.random() < self._share and not self._waiting.full():
            self._waiting.put_nowait(sample)

    async def run(self) -> None:
        """Score what was sampled, until cancelled."""
        while True:
            sample = await self._waiting.get()
            for name, scorer in self._scorers.items():
                try:
                    self._observe(name, await asyncio.to_thread(scorer, sample))
                except Exception as error:
                    # A plug-in's defect costs its score, nothing else.
                    log.warning("scorer %s failed: %s", name, type(error).__name__)
            await self._score_safety(sample)

    async def _score_safety(self, sample: Sample) -> None:
        """ShieldGemma's judgement, where the deployment has a guard."""
        if self._safety.guard is None:
            return
        try:
            violated = await self._safety.guard.violated("Output", sample.question, sample.answer)
        except GuardError as error:
            log.warning("the guard gave no judgement of a sample: %s", error)
            return
        self._observe("safety", 0.0 if violated else 1.0)

    def _observe(self, name: str, score: float | None) -> None:
        if score is not None:
            self._scores.labels(self._model, name).observe(min(1.0, max(0.0, score)))
