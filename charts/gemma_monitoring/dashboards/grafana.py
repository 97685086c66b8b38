"""Grafana's form of a dashboard, built with its foundation SDK (schema 41)."""

from collections.abc import Callable, Sequence
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as formats

from gemma_monitoring.dashboards.model import COLUMNS, Board, Panel, Query, Shape, Unit
from gemma_monitoring.rules.model import one_line

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
UNITS = {
    Unit.COUNT: "short",
    Unit.RATIO: "percentunit",
    Unit.SECONDS: "s",
    Unit.PER_SECOND: "cps",
    Unit.BYTES: "bytes",
    Unit.MEBIBYTES: "mbytes",
    Unit.CELSIUS: "celsius",
    Unit.WATTS: "watt",
    Unit.MONEY: "short",
}
"""Identifiers of Grafana's unit list."""
_ENDPOINT_LINK = (
    "/d/gemma-endpoint?${__url_time_range}"
    "&var-namespace=${__data.fields.namespace}&var-model=${__data.fields.model}"
)
_ROW_HEIGHT = 1
_TEXT_COLUMNS = ("variant", "engine", "accelerator", "precision")

Drawn = timeseries.Panel | stat.Panel | table.Panel | statetimeline.Panel | heatmap.Panel


def grafana_json(board: Board, boards: Sequence[Board]) -> str:
    """The dashboard as JSON with a trailing newline."""
    built = dashboard.Dashboard(board.title)
    built = built.uid(board.uid).description(board.description).tags(list(board.tags)).readonly()
    built = built.time("now-3h", "now").refresh("30s").timezone("browser")
    built = built.tooltip(models.DashboardCursorSync.CROSSHAIR)
    for variable in _variables(board):
        built = built.with_variable(variable)
    for other in boards:
        if other is not board:
            built = built.link(_link(other))
    number, y = 0, 0
    for section in board.sections:
        number += 1
        grid = models.GridPos(h=_ROW_HEIGHT, w=COLUMNS, x=0, y=y)
        built = built.with_row(dashboard.Row(section.title).id(number).grid_pos(grid))
        y += _ROW_HEIGHT
        x, tallest = 0, 0
        for panel in section.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            place = models.GridPos(h=panel.height, w=panel.width, x=x, y=y)
            built = built.with_panel(_drawn(panel).id(number).grid_pos(place))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return str(JSONEncoder(sort_keys=True, indent=2).encode(built.build())) + "\n"


def _variables(board: Board) -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    chosen: list[dashboard.DatasourceVariable | dashboard.QueryVariable] = [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _query_variable("namespace", "Namespace", "label_values(gemma:endpoint:info, namespace)"),
    ]
    if board.per_endpoint:
        query = 'label_values(gemma:endpoint:info{namespace=~"$namespace"}, model)'
        chosen.append(_query_variable("model", "Endpoint", query))
    return chosen


def _query_variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(DATASOURCE).query(query)
    variable = variable.include_all(True).all_value(".*").multi(True)
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = variable.current(everything).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(models.VariableSort.ALPHABETICAL_ASC)


def _link(other: Board) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(other.title.removeprefix("Gemma / ")).type(models.DashboardLinkType.LINK)
    return link.url(f"/d/{other.uid}").keep_time(True).include_vars(True).tooltip(other.description)


# Any: the SDK's panel builders share these methods and no type that has them.
def _drawn(panel: Panel) -> Drawn:
    empty = _EMPTY[panel.shape](panel)
    drawn: Drawn = empty.title(panel.title).description(_description(panel)).datasource(DATASOURCE)
    drawn = drawn.unit(UNITS[panel.unit])
    if panel.threshold is not None:
        drawn = drawn.thresholds(_red_from(panel.threshold))
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        drawn = drawn.with_target(_target(letter, query, panel.shape))
    return drawn


def _description(panel: Panel) -> str:
    return f"{panel.description} Needs {panel.needs}." if panel.needs else panel.description


def _target(letter: str, query: Query, shape: Shape) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).expr(one_line(query.expr)).legend_format(query.legend)
    target = target.datasource(DATASOURCE)
    if shape is Shape.TABLE:
        return target.format(formats.PromQueryFormat.TABLE).instant()
    if shape is Shape.HEATMAP:
        return target.format(formats.PromQueryFormat.HEATMAP).range()
    return target.format(formats.PromQueryFormat.TIME_SERIES).range()


def _red_from(value: float) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green"), models.Threshold(value=value, color="red")]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.TABLE)
    return legend.placement(looks.LegendPlacement.BOTTOM).show_legend(True).calcs(["lastNotNull", "max"])


def _timeseries(panel: Panel) -> timeseries.Panel:
    tooltip = common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI)
    drawn = timeseries.Panel().legend(_legend()).tooltip(tooltip.sort(looks.SortOrder.DESCENDING)).min(0)
    drawn = drawn.fill_opacity(10).show_points(looks.VisibilityMode.NEVER)
    if panel.threshold is not None:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.LINE)
        drawn = drawn.thresholds_style(style)
    if panel.shape is Shape.STACKED:
        drawn = drawn.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL)).fill_opacity(40)
    return drawn


def _stat(_: Panel) -> stat.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    drawn = stat.Panel().reduce_options(last).color_mode(looks.BigValueColorMode.NONE)
    return drawn.graph_mode(looks.BigValueGraphMode.AREA)


def _states(_: Panel) -> statetimeline.Panel:
    steps = [models.Threshold(value=None, color="red"), models.Threshold(value=1, color="green")]
    scale = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
    colour = dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)
    return statetimeline.Panel().legend(_legend()).thresholds(scale).color_scheme(colour).merge_values(True)


def _heatmap(_: Panel) -> heatmap.Panel:
    return heatmap.Panel().calculate(False).show_legend().y_axis(heatmap.YAxisConfig().unit("s"))


def _table(panel: Panel) -> table.Panel:
    """One row per endpoint: the queries' instant vectors merged by their labels, one column each."""
    values = {
        f"Value #{letter}": query for letter, query in zip(ascii_uppercase, panel.queries, strict=False)
    }
    names = {value: query.legend for value, query in values.items() if query.unit is not None}
    order = ["namespace", "model", *_TEXT_COLUMNS, *names]
    hidden = {"Time": True} | {value: True for value in values if value not in names}
    organize = {
        "excludeByName": hidden,
        "indexByName": {name: index for index, name in enumerate(order)},
        "renameByName": names,
    }
    drawn = (
        table.Panel()
        .show_header(True)
        .transformations(
            [
                models.DataTransformerConfig(id_val="merge", options={}),
                models.DataTransformerConfig(id_val="organize", options=organize),
            ]
        )
    )
    for query in panel.queries:
        if query.unit is not None:
            property_ = models.DynamicConfigValue(id_val="unit", value=UNITS[query.unit])
            drawn = drawn.override_by_name(query.legend, [property_])
    links = models.DynamicConfigValue(id_val="links", value=[{"title": "Endpoint", "url": _ENDPOINT_LINK}])
    return drawn.override_by_name("model", [links])


_EMPTY: dict[Shape, Callable[[Panel], Any]] = {
    Shape.TIMESERIES: _timeseries,
    Shape.STACKED: _timeseries,
    Shape.STAT: _stat,
    Shape.TABLE: _table,
    Shape.STATES: _states,
    Shape.HEATMAP: _heatmap,
}
