"""Draws every dashboard as a picture from a live Prometheus: `python -m gemma_monitoring.pictures --help`.

What Grafana shows, without Grafana: the same panels and queries in the same places.
"""

import argparse
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import isinf, isnan
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gemma_monitoring.dashboards import BOARDS
from gemma_monitoring.dashboards.model import COLUMNS, Board, Panel, Query, Section, Shape, Unit
from gemma_monitoring.rules.model import one_line
from gemma_operator.cli.prometheus import Prometheus, Series

INCHES_PER_COLUMN, INCHES_PER_ROW = 0.75, 0.38
DOTS_PER_INCH = 80
HEADING_ROWS = 2
POINTS = 120
MOST_LINES = 12
"""In a legend; more hide the panel."""
PLAN_COLUMNS = ("variant", "engine", "accelerator", "precision")
SUFFIXES: Mapping[Unit, str] = {
    Unit.SECONDS: " s",
    Unit.PER_SECOND: " /s",
    Unit.CELSIUS: " °C",
    Unit.WATTS: " W",
    Unit.MEBIBYTES: " MiB",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the panel's queries returned: for each, its series over time."""

    panel: Panel
    results: tuple[tuple[Query, list[Series]], ...]

    @property
    def is_empty(self) -> bool:
        """Whether a query returned nothing; of a table, whether all did."""
        nothing = [not any(each.values for each in series) for _, series in self.results]
        return all(nothing) if self.panel.shape is Shape.TABLE else any(nothing)


def answered(prometheus: Prometheus, panel: Panel, start: float, end: float) -> Answer:
    """Ask all of a panel's queries, for all endpoints."""
    step = max(1.0, (end - start) / POINTS)
    return Answer(
        panel,
        tuple((query, prometheus.range(for_all(query.expr), start, end, step)) for query in panel.queries),
    )


def for_all(expr: str) -> str:
    """The query with its variables set to everything."""
    return one_line(expr).replace("$namespace", ".*").replace("$model", ".*")


def draw(board: Board, answers: Mapping[Panel, Answer]) -> Figure:
    """One picture of the whole board."""
    rows = sum(HEADING_ROWS + _height(section) for section in board.sections)
    figure = Figure(figsize=(COLUMNS * INCHES_PER_COLUMN, rows * INCHES_PER_ROW + 0.6), dpi=DOTS_PER_INCH)
    figure.suptitle(board.title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    top = 1 - 0.7 / (rows * INCHES_PER_ROW)
    space = {"left": 0.04, "right": 0.99, "top": top, "bottom": 0.03, "hspace": 2.4, "wspace": 3.2}
    grid = figure.add_gridspec(rows, COLUMNS, **space)
    y = 0
    for section in board.sections:
        heading = figure.add_subplot(grid[y : y + HEADING_ROWS, :])
        heading.set_axis_off()
        heading.text(0, 0.1, section.title, fontsize=11, fontweight="bold", color="#555555")
        y += HEADING_ROWS
        x, tallest = 0, 0
        for panel in section.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            # One row is left for the title of the panel below.
            place = grid[y : y + panel.height - 1, x : x + panel.width]
            _panel(figure.add_subplot(place), answers[panel])
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return figure


def _height(section: Section) -> int:
    x = tallest = height = 0
    for panel in section.panels:
        if x + panel.width > COLUMNS:
            x, height, tallest = 0, height + tallest, 0
        x, tallest = x + panel.width, max(tallest, panel.height)
    return height + tallest


def _panel(axes: Axes, answer: Answer) -> None:
    panel = answer.panel
    axes.set_title(panel.title, fontsize=9, loc="left")
    lines = [(query, series) for query, found in answer.results for series in found if series.values]
    if not lines:
        _text(axes, f"needs {panel.needs}" if panel.needs else "no data", "grey", 9)
    elif panel.shape is Shape.STAT:
        _text(axes, number(lines[0][1].values[-1], panel.unit), "black", 18)
    elif panel.shape is Shape.TABLE:
        _table(axes, answer)
    elif panel.shape is Shape.HEATMAP:
        _heatmap(axes, [series for _, series in lines])
    else:
        _lines(axes, panel, lines)


def _text(axes: Axes, text: str, colour: str, size: float) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=colour, fontsize=size, transform=axes.transAxes)


def _lines(axes: Axes, panel: Panel, lines: list[tuple[Query, Series]]) -> None:
    for query, series in lines:
        times: list[Any] = [datetime.fromtimestamp(at, UTC) for at in series.times]
        style = "steps-post" if panel.shape is Shape.STATES else "default"
        label = legend(query.legend, series.labels)
        axes.plot(times, series.values, label=label, linewidth=1.1, drawstyle=style)
    if panel.threshold is not None:
        axes.axhline(panel.threshold, color="red", linewidth=0.8, linestyle="--")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: number(value, panel.unit))
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_formatter(_clock)
    axes.grid(alpha=0.3)
    if len(lines) <= MOST_LINES:
        axes.legend(fontsize=6, frameon=False, loc="upper left")


def _clock(days: float, _: object) -> str:
    return datetime.fromtimestamp(days * 86400, UTC).strftime("%H:%M:%S")


def _heatmap(axes: Axes, found: list[Series]) -> None:
    buckets = sorted(found, key=lambda series: float(series.labels["le"]))
    cumulative = [[0.0] * len(buckets[0].values), *(list(series.values) for series in buckets)]
    counts = [
        [max(0.0, upper - lower) for lower, upper in zip(below, above, strict=False)]
        for below, above in pairwise(cumulative)
    ]
    width = min(map(len, counts))
    axes.imshow([row[-width:] for row in counts], aspect="auto", origin="lower", interpolation="nearest")
    names = [series.labels["le"] for series in buckets]
    axes.set_yticks(range(0, len(names), 4), [names[i] for i in range(0, len(names), 4)], fontsize=6)
    axes.set_xticks([])


def _table(axes: Axes, answer: Answer) -> None:
    columns = [query for query, _ in answer.results if query.unit is not None]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for query, found in answer.results:
        for series in filter(lambda each: each.values, found):
            row = rows.setdefault((series.labels.get("namespace", ""), series.labels.get("model", "")), {})
            if query.unit is None:
                row |= {name: series.labels.get(name, "") for name in PLAN_COLUMNS}
            else:
                row[query.legend] = number(series.values[-1], query.unit)
    names = [*PLAN_COLUMNS, *(query.legend for query in columns)]
    cells = [
        [f"{space}/{name}", *(row.get(column, "–") for column in names)]
        for (space, name), row in sorted(rows.items())
    ]
    axes.set_axis_off()
    drawn = axes.table(cells, colLabels=["endpoint", *names], loc="upper center", cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)


def legend(template: str, labels: Mapping[str, str]) -> str:
    """The legend with its labels in place."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), template)


def number(value: float, unit: Unit) -> str:
    """A value in its unit, short."""
    if isnan(value) or isinf(value):
        return "–"
    if unit is Unit.RATIO:
        return f"{value:.3g}" if value == 0 else f"{value * 100:.3g} %"
    if unit is Unit.BYTES:
        return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"
    return f"{value:.3g}{SUFFIXES.get(unit, '')}"


BoardAnswers = dict[Board, dict[Panel, Answer]]


def ask_all(prometheus: Prometheus, start: float, end: float) -> BoardAnswers:
    """The answers of every panel of every board."""
    return {
        board: {panel: answered(prometheus, panel, start, end) for panel in board.panels} for board in BOARDS
    }


def draw_all(answers: BoardAnswers, folder: Path) -> None:
    """One PNG per board into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for board, panels in answers.items():
        draw(board, panels).savefig(folder / f"{board.uid}.png")


def main() -> None:
    """Draw the last minutes."""
    parser = argparse.ArgumentParser(prog="gemma_monitoring.pictures", description=__doc__)
    parser.add_argument("--prometheus", metavar="URL", required=True)
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    arguments = parser.parse_args()
    end = time.time()
    answers = ask_all(Prometheus(arguments.prometheus), end - arguments.minutes * 60, end)
    draw_all(answers, arguments.output)
    for answer in (answer for panels in answers.values() for answer in panels.values()):
        if answer.is_empty:
            print(
                f"empty: {answer.panel.title}{f' (needs {answer.panel.needs})' if answer.panel.needs else ''}"
            )


if __name__ == "__main__":
    main()
