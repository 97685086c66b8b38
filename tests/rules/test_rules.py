"""The rules file under promtool: it checks, it fires where it should, and it is silent where it should."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gemma_monitoring.promql import pretty, selectors, series_names
from gemma_monitoring.registry import SERIES, TARGET_LABELS
from gemma_monitoring.rules import ALERTS, GROUPS
from gemma_monitoring.rules.model import RUNBOOK_BASE, Alert, Recording
from gemma_operator.api.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "charts/gemma-operator/rules/gemma.rules.yaml"
CASES = sorted(Path(__file__).parent.glob("*.yaml"))
RECORDED = {rule.record for group in GROUPS for rule in group.rules if isinstance(rule, Recording)}
ALL_RULES = [rule for group in GROUPS for rule in group.rules]


def rule_name(rule: Alert | Recording) -> str:
    return rule.name if isinstance(rule, Alert) else rule.record


def run(promtool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)


def cases_in(path: Path) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.safe_load(path.read_text())["tests"]
    return tests


ALL_TESTS = [test for path in CASES for test in cases_in(path)]


def fired_in(test: dict[str, Any]) -> set[str]:
    samples = [sample["labels"] for check in test["promql_expr_test"] for sample in check["exp_samples"]]
    return {name for labels in samples for name in re.findall(r'alertname="(\w+)"', labels)}


def test_promtool_finds_nothing_to_lint(promtool: Path) -> None:
    result = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"SUCCESS: {len(ALL_RULES)} rules found" in result.stdout


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_are_silent_as_the_cases_say(promtool: Path, path: Path) -> None:
    result = run(promtool, "test", "rules", str(path))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=rule_name)
def test_every_alert_has_a_firing_and_a_silent_case(alert: Alert) -> None:
    assert any(alert.name in fired_in(t) for t in ALL_TESTS)
    silent = [t for t in ALL_TESTS if t["name"].startswith(f"{alert.name} is silent")]
    assert silent
    # A case is only as good as its data: it must feed the very series that the alert looks at.
    fed = {name for t in silent for s in t["input_series"] for name in re.findall(r"^\w+", s["series"])}
    assert sources(alert.expr) & fed


def sources(expr: str) -> set[str]:
    """The emitted series below an expression, through all recordings."""
    recorded = {rule.record: rule.expr for rule in ALL_RULES if isinstance(rule, Recording)}
    found: set[str] = set()
    for name in series_names(expr):
        found |= sources(recorded[name]) if name in recorded else {name}
    return found


@pytest.mark.parametrize("test", ALL_TESTS, ids=lambda test: test["name"][:60])
def test_cases_use_only_series_that_the_registry_knows(test: dict[str, Any]) -> None:
    for series in test["input_series"]:
        name = re.match(r"\w+", series["series"])
        assert name is not None
        assert name[0] in SERIES
        labels = set(re.findall(r"(\w+)=", series["series"]))
        assert labels <= SERIES[name[0]].labels | TARGET_LABELS | {"le"}


@pytest.mark.parametrize("rule", ALL_RULES, ids=rule_name)
def test_rules_name_only_what_is_emitted_or_recorded(rule: Alert | Recording) -> None:
    for selector in selectors(rule.expr):
        assert selector.name in RECORDED or selector.name in SERIES, f"nobody emits {selector.name}"
        if selector.name in SERIES:
            known = SERIES[selector.name].labels | TARGET_LABELS
            assert {matcher.name for matcher in selector.matchers.matchers} <= known


@pytest.mark.parametrize("rule", ALL_RULES, ids=rule_name)
def test_laying_an_expression_out_does_not_change_it(rule: Alert | Recording) -> None:
    assert pretty(pretty(rule.expr)) == pretty(rule.expr)
    assert [s.prettify() for s in selectors(pretty(rule.expr))] == [
        s.prettify() for s in selectors(rule.expr)
    ]


def test_recordings_are_read_after_they_are_written() -> None:
    """Within a group, and between groups by file order: a recording never waits for its own next round."""
    written: set[str] = set()
    for rule in ALL_RULES:
        names = {name for name in series_names(rule.expr) if ":" in name}
        assert names <= written, f"{rule_name(rule)} reads {names - written} before it is recorded"
        if isinstance(rule, Recording):
            written.add(rule.record)


@pytest.mark.parametrize("alert", ALERTS, ids=rule_name)
def test_an_alert_says_what_to_know(alert: Alert) -> None:
    annotations = alert.manifest()["annotations"]
    assert annotations["runbook_url"] == f"{RUNBOOK_BASE}/{alert.name}"
    assert (ROOT / "docs/runbooks" / f"{alert.name}.md").is_file()
    assert len(annotations["summary"]) <= 120
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")


def test_alert_names_are_unique_and_carry_the_prefix() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"Gemma[A-Z]\w+", name) for name in names)


def test_rules_know_the_reasons_that_the_operator_gives() -> None:
    """A reason that was renamed would silence its alert for ever."""
    known = {reason.value for reason in Reason}
    in_rules = {
        value
        for rule in ALL_RULES
        for selector in selectors(rule.expr)
        for matcher in selector.matchers.matchers
        if matcher.name == "reason" and selector.name == "gemma:endpoint_condition:max"
        for value in matcher.value.split("|")
    }
    assert in_rules - known == set()
