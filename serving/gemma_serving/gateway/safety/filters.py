"""The safety filters of one gateway: on what is asked, and on what is answered before it is let out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemma_serving.contract import Delta, SafetyConfig, TokenLogprob
from gemma_serving.gateway.errors import ApiError, invalid
from gemma_serving.gateway.metrics import Metrics
from gemma_serving.gateway.safety.guard import Guard, GuardError
from gemma_serving.gateway.safety.terms import BlockedTerms, is_word, read_terms
from gemma_serving.gateway.safety.text import folded, without_unseen

log = logging.getLogger(__name__)

RELOAD_SECONDS = 5.0
GUARD_WINDOW_CHARACTERS = 400
"""Of an answer between two judgements: about 100 tokens, so that a judgement costs a few percent of them."""
TERMS_POLICY = "blocked_terms"
UNFINISHED = "_"
"""A word character that is part of no word of any language."""


class Safety:
    """Checks texts; reloads its terms, and takes up another configuration."""

    def __init__(self, config: SafetyConfig | None, metrics: Metrics) -> None:
        self._metrics = metrics
        self.guard: Guard | None
        """The judge, where there is one."""
        self._build(config)

    def take_up(self, config: SafetyConfig | None) -> None:
        """Put another configuration into force, for requests that come and for the rest of answers under way.

        Raises OSError where a file of it is missing, and then leaves the old one in force.
        """
        if config != self._given:
            self._build(config)

    def _build(self, given: SafetyConfig | None) -> None:
        config = given or SafetyConfig()
        path = None if not config.blocked_terms_path else Path(config.blocked_terms_path)
        state = _state(path)
        terms = BlockedTerms(()) if path is None else BlockedTerms(read_terms(path))
        self.guard = _guard(config)
        self._given, self._config, self._enabled = given, config, given is not None
        self._terms_path, self._terms, self._seen = path, terms, state

    def output_filter(self, question: str) -> OutputFilter | None:
        """A filter for one request's answers; None where answers are not checked."""
        if "Output" not in self._config.stages or not (self._terms_path or self.guard):
            return None
        return OutputFilter(self, question)

    def clean(self, text: str) -> str:
        """`text` as the model gets it."""
        return without_unseen(text) if self._enabled else text

    async def check_input(self, texts: Sequence[str], question: str) -> None:
        """Raises ApiError 400 for a text that is too long or not allowed, 503 without the guard's judgement.

        `texts` is all that was said, `question` the last of it, which the guard judges.
        """
        limit = self._config.max_input_characters
        size = sum(map(len, texts))
        if limit is not None and size > limit:
            raise invalid(
                f"The input has {size} characters; {limit} are allowed.", "messages", "validation_error"
            )
        if "Input" not in self._config.stages:
            return
        if self._terms_path is not None:
            self.check_terms("Input", "\n".join(texts))
            self._count("Input", TERMS_POLICY, "allow")
        await self.ask_guard("Input", question, "")

    def check_terms(self, stage: str, text: str) -> None:
        """Raises ApiError 400 for a text with a blocked term."""
        term = self._terms.find(text)
        if term is not None:
            self._count(stage, TERMS_POLICY, "block")
            raise refusal(stage, term.policy)

    @property
    def longest_term(self) -> int:
        """Characters of the longest blocked term, folded."""
        return self._terms.longest

    @property
    def guarded(self) -> bool:
        """Whether a guard judges."""
        return self.guard is not None

    async def watch(self) -> None:
        """Reload the terms whenever their folder changes, until cancelled."""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            path = self._terms_path
            try:
                state = _state(path)
                if path is not None and state != self._seen:
                    terms = await asyncio.to_thread(read_terms, path)
                    self._terms, self._seen = BlockedTerms(terms), state
                    log.info("%d blocked terms are in force", len(terms))
            except (OSError, UnicodeDecodeError) as error:
                # The terms in force stay in force.
                log.error("blocked terms cannot be read: %s", error)

    async def ask_guard(self, stage: str, question: str, answer: str) -> None:
        """Raises ApiError where the guard finds a violation, or gives no judgement."""
        if self.guard is None:
            return
        try:
            policy = await self.guard.violated(stage, question, answer)
        except GuardError as error:
            passes = self._config.on_guard_failure == "Open"
            self._count(stage, "guard", "failed_open" if passes else "failed_closed")
            log.error("the guard gave no judgement: %s", error)
            if passes:
                return
            message = "The safety guard gave no judgement, and nothing passes unchecked. Retry later."
            raise ApiError(
                503, message, "server_error", "guard_unavailable", retry_after_seconds=5
            ) from error
        self._count(stage, "guard" if policy is None else policy.name, "allow" if policy is None else "block")
        if policy is not None:
            raise refusal(stage, policy.name)

    def _count(self, stage: str, policy: str, decision: str) -> None:
        self._metrics.safety_decision(stage.lower(), policy, decision)


def refusal(stage: str, policy: str) -> ApiError:
    """400: what was asked, or answered, is not allowed here."""
    code, what = ("content_filtered", "request") if stage == "Input" else ("response_filtered", "answer")
    message = f"The {what} was refused by the content policy {policy!r} of this endpoint."
    return ApiError(400, message, "content_filter_error", code)


@dataclass(slots=True)
class _Held:
    text: str = ""
    tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    whole: str = ""
    """All that was said, for the guard."""
    judged: int = 0
    """Characters of `whole` that the guard has seen."""
    before: str = ""
    """Stands for the last character that was let out: a part of a word, or a space."""


class OutputFilter:
    """Lets an answer out in windows, each after it was checked."""

    def __init__(self, safety: Safety, question: str) -> None:
        self._safety = safety
        self._question = question
        self._choices: dict[int, _Held] = {}

    async def feed(self, index: int, delta: Delta) -> Delta | None:
        """What may be let out now; raises ApiError."""
        held = self._choices.setdefault(index, _Held())
        held.text += delta.text
        held.whole += delta.text
        held.tokens += delta.tokens
        held.logprobs += delta.logprobs or ()
        # The last word may go on, so it is no whole word yet.
        self._safety.check_terms("Output", f"{held.before}{held.text}{UNFINISHED}")
        if self._safety.guarded:
            if len(held.whole) - held.judged < GUARD_WINDOW_CHARACTERS:
                return None
            await self._judge(held)
        return self._release(held, len(held.text) - self._tail(held.text))

    async def finish(self, index: int) -> Delta | None:
        """The rest; raises ApiError."""
        held = self._choices.pop(index, None)
        if held is None:
            return None
        self._safety.check_terms("Output", held.before + held.text)
        await self._judge(held)
        return self._release(held, len(held.text))

    async def _judge(self, held: _Held) -> None:
        if held.whole:
            await self._safety.ask_guard("Output", self._question, held.whole)
        held.judged = len(held.whole)

    def _tail(self, text: str) -> int:
        """Characters to hold back: a term may be unfinished, and the end of a word is seen in what follows
        it.
        """
        needed = self._safety.longest_term + 1 if self._safety.longest_term else 0
        size = needed
        # Joiners vanish in folding: hold back until enough is left without them.
        while size < len(text) and len(folded(text[-size:] if size else "")) < needed:
            size += needed
        return min(size, len(text))

    def _release(self, held: _Held, length: int) -> Delta | None:
        if length <= 0 and not (not held.text and held.tokens):
            return None
        delta = Delta(held.text[:length], held.tokens, held.logprobs or None)
        if length:
            held.before = UNFINISHED if is_word(held.text[length - 1]) else " "
        held.text, held.tokens, held.logprobs = held.text[length:], 0, []
        return delta


def _state(folder: Path | None) -> tuple[tuple[str, int], ...]:
    if folder is None:
        return ()
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".."))
    return tuple((path.name, path.stat().st_mtime_ns) for path in files)


def _guard(config: SafetyConfig) -> Guard | None:
    if config.guard_url is None:
        return None
    key = None if config.guard_key_path is None else Path(config.guard_key_path).read_text().strip()
    return Guard(config.guard_url, config.guard_model, config.policies, key)
