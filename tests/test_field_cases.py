"""docs/field-cases.md names, for each field case, tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (FO-\d\d) \|.*\| (.*) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "field-cases.md").read_text())


def _functions(path: Path) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


@pytest.fixture(scope="module")
def tests() -> set[str]:
    return set().union(*(_functions(path) for path in (ROOT / "tests").rglob("test_*.py")))


def test_every_case_has_its_row() -> None:
    assert [case for case, _ in ROWS] == [f"FO-{number:02}" for number in range(1, 39)]


@pytest.mark.parametrize(("case", "proofs"), ROWS, ids=[case for case, _ in ROWS])
def test_a_case_is_held_by_tests_that_exist(case: str, proofs: str, tests: set[str]) -> None:
    named = re.findall(r"`([^`]+)`", proofs)
    assert named, case
    for proof in named:
        if "/" in proof:
            assert case in (ROOT / proof).read_text(), f"{proof} does not name {case}"
        else:
            assert proof in tests, proof
