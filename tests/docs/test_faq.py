"""docs/faq.md has every reason that a condition can give, and no other."""

import re
from pathlib import Path

from gemma_operator.api.reasons import Reason

FAQ = (Path(__file__).resolve().parents[2] / "docs" / "faq.md").read_text()
_REASONS = FAQ.partition("## Reasons of conditions")[2].partition("\n## ")[0]
SECTIONS = dict(re.findall(r"^### (\w+)\n\n(.+?)(?=\n\n### |\Z)", _REASONS, re.MULTILINE | re.DOTALL))
SHORTEST_ANSWER = 20


def test_every_reason_is_answered() -> None:
    missing = {reason.value for reason in Reason} - SECTIONS.keys()
    assert missing == set(), f"docs/faq.md: add `### REASON` with what to do, for {sorted(missing)}"


def test_no_reason_is_made_up() -> None:
    assert SECTIONS.keys() - {reason.value for reason in Reason} == set()


def test_no_answer_is_empty() -> None:
    assert [name for name, text in SECTIONS.items() if len(text.strip()) < SHORTEST_ANSWER] == []
