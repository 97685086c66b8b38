"""The words of a rules file: recordings, alerts, groups; and how they become plain data."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gemma_monitoring.promql import pretty

RUNBOOK_BASE = "https://gemma-operator.dev/runbooks"
"""In front of every runbook_url; the chart replaces it by `monitoring.rules.runbookBaseUrl`."""

ON_ENDPOINT = "on (namespace, model)"
BY_ENDPOINT = "by (namespace, model)"
"""An endpoint is a GemmaDeployment: its namespace, and its name, which is the served model's name."""


class Severity(StrEnum):
    """Who is told: `critical` wakes somebody, `warning` is a ticket, `info` is read in passing."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule; its name is level:metric:operation as Prometheus advises."""

    record: str
    expr: str

    def manifest(self) -> dict[str, Any]:
        """As in a rules file."""
        return {"record": self.record, "expr": pretty(self.expr)}


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule. `hold` is its `for`: how long the expression must hold."""

    name: str
    severity: Severity
    hold: str
    expr: str
    summary: str
    description: str

    def manifest(self) -> dict[str, Any]:
        """As in a rules file."""
        return {
            "alert": self.name,
            "expr": pretty(self.expr),
            "for": self.hold,
            "labels": {"severity": self.severity.value, "component": "gemma"},
            "annotations": {
                "summary": one_line(self.summary),
                "description": one_line(self.description),
                "runbook_url": f"{RUNBOOK_BASE}/{self.name}",
            },
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules evaluated one after another. Google's managed rules require the interval."""

    name: str
    interval: str
    rules: tuple[Recording | Alert, ...]

    def manifest(self) -> dict[str, Any]:
        """As in a rules file."""
        return {
            "name": self.name,
            "interval": self.interval,
            "rules": [rule.manifest() for rule in self.rules],
        }


def one_line(text: str) -> str:
    """Join the lines of an indented text with single spaces."""
    return " ".join(text.split())
