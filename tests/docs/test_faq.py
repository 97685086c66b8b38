"""docs/faq.md has every reason that a condition can give and every code of an error, and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gemma_operator.api.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
FAQ = (ROOT / "docs" / "faq.md").read_text()
_REASONS = FAQ.partition("## Reasons of conditions")[2].partition("\n## ")[0]
SECTIONS = dict(re.findall(r"^### (\w+)\n\n(.+?)(?=\n\n### |\Z)", _REASONS, re.MULTILINE | re.DOTALL))
SHORTEST_ANSWER = 20
_ANSWERS = FAQ.partition("## Answers of the gateway")[2]
PLACE_OF_CODE = {"ApiError": 3, "invalid": 2}
"""Which argument of the functions that make an error is its code, where it is not named."""
COMPOSED = {"invalid_image", "invalid_audio", "content_filtered", "response_filtered"}
"""Codes that are put together, or chosen, before they are passed."""


def test_every_reason_is_answered() -> None:
    missing = {reason.value for reason in Reason} - SECTIONS.keys()
    assert missing == set(), f"docs/faq.md: add `### REASON` with what to do, for {sorted(missing)}"


def test_no_reason_is_made_up() -> None:
    assert SECTIONS.keys() - {reason.value for reason in Reason} == set()


def test_no_answer_is_empty() -> None:
    assert [name for name, text in SECTIONS.items() if len(text.strip()) < SHORTEST_ANSWER] == []


def codes_of(file: Path) -> Iterator[str]:
    """Codes of errors that a module writes out where it makes them."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        place = PLACE_OF_CODE.get(ast.unparse(node.func).rpartition(".")[2])
        if place is not None:
            given = [k.value for k in node.keywords if k.arg == "code"] + node.args[place : place + 1]
            yield from (c.value for c in given if isinstance(c, ast.Constant) and isinstance(c.value, str))


def test_every_code_of_an_error_is_answered_and_none_is_made_up() -> None:
    rooms = [ROOT / "serving" / "gemma_serving" / room for room in ("gateway", "frontdoor")]
    written = {code for room in rooms for file in room.rglob("*.py") for code in codes_of(file)}
    assert len(written) > 15
    rows = re.findall(r"^\| \d{3}[^|]*\|([^|]+)\|", _ANSWERS, re.MULTILINE)
    answered = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    assert answered == written | COMPOSED
