"""The words of a dashboard, in one source for Grafana and for Google Cloud Monitoring."""

from dataclasses import dataclass, field
from enum import StrEnum

COLUMNS = 24
"""Width of a dashboard, in Grafana's grid units."""

ENDPOINT = 'namespace=~"$namespace", model=~"$model"'
"""Selects what the variables on top of a dashboard name."""
NAMESPACE = 'namespace=~"$namespace"'
NAME = "{{namespace}}/{{model}}"
"""Legend of a series per endpoint."""


GPU = "a GPU"
PRICE = "a price of the accelerator"
SCALING = "spec.scaling"
SAFETY = "spec.safety"
FRONT_DOOR = "the front door"
"""What panels may need."""


class Shape(StrEnum):
    """How a panel draws."""

    TIMESERIES = "timeseries"
    STACKED = "stacked"
    STAT = "stat"
    TABLE = "table"
    STATES = "states"
    HEATMAP = "heatmap"


class Unit(StrEnum):
    """What a panel's numbers are."""

    COUNT = "count"
    RATIO = "ratio"
    SECONDS = "seconds"
    PER_SECOND = "per second"
    BYTES = "bytes"
    MEBIBYTES = "mebibytes"
    CELSIUS = "celsius"
    WATTS = "watts"
    MONEY = "money"
    """In the price file's currency, which the plan does not convert."""


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and the legend of its series with labels in double braces (a column's name in a table)."""

    expr: str
    legend: str
    unit: Unit | None = None
    """Of this column of a table."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    shape: Shape = Shape.TIMESERIES
    width: int = 8
    height: int = 8
    needs: str = ""
    """What it is empty without, such as GPU; a live run without that may leave it empty, and no other."""
    threshold: float | None = None
    """Drawn in red from here on."""


@dataclass(frozen=True, slots=True)
class Section:
    """A row of panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. `per_endpoint` boards have the variable `model` beside `namespace`."""

    uid: str
    title: str
    description: str
    sections: tuple[Section, ...]
    per_endpoint: bool = True
    tags: tuple[str, ...] = field(default=("gemma",))

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels in reading order."""
        return tuple(panel for section in self.sections for panel in section.panels)


def stat(title: str, description: str, unit: Unit, expr: str, width: int = 4) -> Panel:
    """One number."""
    needs = PRICE if unit is Unit.MONEY else ""
    return Panel(title, description, unit, (Query(expr, title),), Shape.STAT, width, 4, needs)


def per_endpoint(title: str, description: str, unit: Unit, expr: str, legend: str = NAME) -> Panel:
    """One line per endpoint."""
    return Panel(title, description, unit, (Query(expr, legend),))
