"""Each alert leads to a page that says what it means, whom it hurts, where to look and what to do."""

import re
from pathlib import Path

import pytest

from gemma_monitoring.promql import series_names
from gemma_monitoring.registry import SERIES
from gemma_monitoring.rules import ALERTS, GROUPS
from gemma_monitoring.rules.model import Recording
from gemma_monitoring.runbooks import HEADINGS, index

FOLDER = Path(__file__).resolve().parents[2] / "docs/runbooks"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.stem != "README")
RECORDED = {rule.record for group in GROUPS for rule in group.rules if isinstance(rule, Recording)}
CONTAINERS = {"triton", "gateway", "weights", "repository"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {path.stem for path in PAGES} == {alert.name for alert in ALERTS}


def test_the_index_is_fresh() -> None:
    assert (FOLDER / "README.md").read_text() == index(FOLDER)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_runbook_has_the_four_sections_and_something_to_run(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.M)) == HEADINGS
    assert re.search(r"```(sh|promql)\n", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_queries_parse_and_name_what_exists(page: Path) -> None:
    blocks = re.findall(r"```promql\n(.*?)```", page.read_text(), re.S)
    for query in (line for block in blocks for line in block.splitlines() if line.strip()):
        assert series_names(query) <= RECORDED | SERIES.keys(), query


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_name_containers_of_the_pod_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"^kubectl .* -c (\w+)", text, re.M)) <= CONTAINERS
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (FOLDER / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_logs_that_are_searched_are_whole(page: Path) -> None:
    """Of a selector's pods, kubectl gives ten lines each unless it is told how many, also with --since."""
    searched = re.findall(r"^kubectl .*? logs -l [^|\n]*\|.*", page.read_text(), re.M)
    assert [line for line in searched if "--tail" not in line.partition("|")[0]] == []
