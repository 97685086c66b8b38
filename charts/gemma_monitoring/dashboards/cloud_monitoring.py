"""Google Cloud Monitoring's form of a dashboard, for what Managed Service for Prometheus collected.

The console applies the dashboard's filters to every chart by itself, so the queries carry no variables.
"""

import json
import re
from typing import Any

from gemma_monitoring.dashboards.model import Board, Panel, Query, Shape, Unit
from gemma_monitoring.promql import pretty
from gemma_monitoring.rules.model import one_line

GRID_SCALE = 2
"""Google's mosaic has 48 columns where Grafana's grid has 24."""
UNITS = {
    Unit.COUNT: "1",
    Unit.RATIO: "10^2.%",
    Unit.SECONDS: "s",
    Unit.PER_SECOND: "1/s",
    Unit.BYTES: "By",
    Unit.MEBIBYTES: "MiBy",
    Unit.CELSIUS: "Cel",
    Unit.WATTS: "W",
    Unit.MONEY: "1",
}
"""UCUM, as `unitOverride` takes it."""
PLOTS = {
    Shape.TIMESERIES: "LINE",
    Shape.STACKED: "STACKED_AREA",
    Shape.STATES: "STACKED_BAR",
    Shape.HEATMAP: "HEATMAP",
}
_VARIABLE = re.compile(r',?\s*\b(?:namespace|model)=~"\$\w+"')


def cloud_monitoring_json(board: Board) -> str:
    """The dashboard as JSON with a trailing newline."""
    dashboard = {
        "displayName": board.title,
        "labels": {"gemma": ""},
        "dashboardFilters": _filters(board),
        "mosaicLayout": {"columns": 24 * GRID_SCALE, "tiles": _tiles(board)},
    }
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def without_variables(expr: str) -> str:
    """The query for all endpoints."""
    bare = _VARIABLE.sub("", one_line(expr))
    return re.sub(r"\{\s*,\s*", "{", bare).replace("{}", "")


def _filters(board: Board) -> list[dict[str, str]]:
    filters = [{"filterType": "RESOURCE_LABEL", "labelKey": "namespace"}]
    if board.per_endpoint:
        filters.append({"filterType": "METRIC_LABEL", "labelKey": "model"})
    return filters


def _tiles(board: Board) -> list[dict[str, Any]]:
    tiles: list[dict[str, Any]] = []
    y = 0
    for section in board.sections:
        tiles.append(_tile(0, y, 24, 2, {"title": section.title, "sectionHeader": {}}))
        y += 2
        x, tallest = 0, 0
        for panel in section.panels:
            if x + panel.width > 24:
                x, y, tallest = 0, y + tallest, 0
            tiles.append(_tile(x, y, panel.width, panel.height, _widget(panel)))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return tiles


def _tile(x: int, y: int, width: int, height: int, widget: dict[str, Any]) -> dict[str, Any]:
    place = {"xPos": x, "yPos": y, "width": width, "height": height}
    return {name: value * GRID_SCALE for name, value in place.items() if value} | {"widget": widget}


def _widget(panel: Panel) -> dict[str, Any]:
    if panel.shape is Shape.STAT:
        spark = {"sparkChartType": "SPARK_LINE"}
        chart: dict[str, Any] = {
            "scorecard": {"timeSeriesQuery": _query(panel.queries[0], panel.unit), "sparkChartView": spark}
        }
    elif panel.shape is Shape.TABLE:
        sets = [
            {"timeSeriesQuery": _query(query, query.unit or panel.unit), "tableTemplate": query.legend}
            for query in panel.queries
        ]
        chart = {"timeSeriesTable": {"dataSets": sets, "metricVisualization": "NUMBER"}}
    else:
        chart = {"xyChart": _chart(panel)}
    return {"title": panel.title, **chart}


def _chart(panel: Panel) -> dict[str, Any]:
    sets = [
        {
            "timeSeriesQuery": _query(query, panel.unit),
            "plotType": PLOTS[panel.shape],
            "legendTemplate": re.sub(r"\{\{(\w+)\}\}", r"${metric.labels.\1}", query.legend),
            "targetAxis": "Y1",
        }
        for query in panel.queries
    ]
    chart: dict[str, Any] = {"dataSets": sets, "yAxis": {"label": panel.unit.value, "scale": "LINEAR"}}
    if panel.threshold is not None:
        chart["thresholds"] = [{"value": panel.threshold, "targetAxis": "Y1"}]
    return chart


def _query(query: Query, unit: Unit) -> dict[str, Any]:
    return {"prometheusQuery": pretty(without_variables(query.expr)), "unitOverride": UNITS[unit]}
