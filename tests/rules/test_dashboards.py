"""Our own dashboard lint: what Grafana and Google would only show as an empty or mute panel."""

import json
from typing import Any

import pytest
from google.cloud.monitoring_dashboard_v1 import Dashboard

from gemma_monitoring.__main__ import stale
from gemma_monitoring.dashboards import BOARDS, cloud_monitoring, dashboard_files
from gemma_monitoring.dashboards.grafana import UNITS
from gemma_monitoring.dashboards.model import COLUMNS, GPU, Board, Panel, Shape
from gemma_monitoring.promql import selectors
from gemma_monitoring.registry import SERIES, TARGET_LABELS
from gemma_monitoring.rules import GROUPS
from gemma_monitoring.rules.model import Recording

RECORDED = {rule.record for group in GROUPS for rule in group.rules if isinstance(rule, Recording)}
FILES = dashboard_files()
GRAFANA = {name: json.loads(text) for name, text in FILES.items() if name.startswith("grafana/")}
GOOGLE = {name: json.loads(text) for name, text in FILES.items() if name.startswith("google/")}
PANELS = [(board, panel) for board in BOARDS for panel in board.panels]
CONFIGMAP_LIMIT_BYTES = 1024 * 1024


def panel_name(value: object) -> str:
    return value.uid if isinstance(value, Board) else getattr(value, "title", str(value))


def drawn(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_generated_files_are_fresh() -> None:
    assert stale() == []


def test_uids_and_titles_are_unique() -> None:
    assert len({board.uid for board in BOARDS}) == len(BOARDS)
    assert len({board.title for board in BOARDS}) == len(BOARDS)


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=panel_name)
def test_every_query_parses_and_names_what_exists(board: Board, panel: Panel) -> None:
    for query in panel.queries:
        found = selectors(query.expr)
        assert found
        for selector in found:
            assert selector.name in RECORDED | SERIES.keys(), f"nobody emits or records {selector.name}"
            if selector.name in SERIES and selector.name != "ALERTS":
                known = SERIES[selector.name].labels | TARGET_LABELS
                assert {matcher.name for matcher in selector.matchers.matchers} <= known


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=panel_name)
def test_every_panel_says_what_it_shows(board: Board, panel: Panel) -> None:
    assert panel.description.endswith(".")
    assert all(query.legend for query in panel.queries)
    assert panel.width <= COLUMNS
    if panel.shape is Shape.TABLE:
        assert len([query for query in panel.queries if query.unit is None]) == 1


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=panel_name)
def test_variables_reach_every_query_of_an_endpoint_board(board: Board, panel: Panel) -> None:
    for query in panel.queries:
        if board.per_endpoint:
            assert "$namespace" in query.expr
        else:
            assert "$model" not in query.expr


def test_panels_of_gpu_metrics_are_marked_and_only_those() -> None:
    """They are what a run without a GPU may leave empty."""
    recorded = {r.record: r.expr for group in GROUPS for r in group.rules if isinstance(r, Recording)}

    def needs_gpu(expr: str) -> bool:
        names = [selector.name or "" for selector in selectors(expr)]
        return any(needs_gpu(recorded[n]) if n in recorded else SERIES[n].needs_gpu for n in names)

    assert [panel.title for _, panel in PANELS if panel.needs == GPU] == [
        panel.title for _, panel in PANELS if any(needs_gpu(query.expr) for query in panel.queries)
    ]


@pytest.mark.parametrize("name", GRAFANA)
def test_grafana_ids_and_letters_are_set_once(name: str) -> None:
    ids = [panel["id"] for panel in GRAFANA[name]["panels"]]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids
    for panel in drawn(GRAFANA[name]):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))


@pytest.mark.parametrize("name", GRAFANA)
def test_grafana_panels_ask_the_chosen_data_source_and_have_units(name: str) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in drawn(GRAFANA[name]):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS.values()
        assert panel["options"] is not None
    variables = {v["name"]: v for v in GRAFANA[name]["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert all(v["datasource"] == chosen for v in variables.values() if v["type"] == "query")


@pytest.mark.parametrize("name", GRAFANA)
def test_grafana_panels_do_not_overlap(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in GRAFANA[name]["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < COLUMNS
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


@pytest.mark.parametrize("name", GRAFANA)
def test_grafana_boards_link_to_each_other_and_are_current(name: str) -> None:
    urls = {link["url"] for link in GRAFANA[name]["links"]}
    assert urls == {f"/d/{board.uid}" for board in BOARDS if board.uid != GRAFANA[name]["uid"]}
    assert GRAFANA[name]["schemaVersion"] == 41


def test_all_boards_of_one_form_fit_one_configmap() -> None:
    assert (
        sum(len(text.encode()) for name, text in FILES.items() if name.startswith("grafana/"))
        < CONFIGMAP_LIMIT_BYTES
    )


@pytest.mark.parametrize("name", GOOGLE)
def test_google_dashboards_are_what_googles_own_types_accept(name: str) -> None:
    parsed = Dashboard.from_json(FILES[name])
    assert parsed.display_name == GOOGLE[name]["displayName"]
    assert len(parsed.mosaic_layout.tiles) == len(GOOGLE[name]["mosaicLayout"]["tiles"])


@pytest.mark.parametrize("name", GOOGLE)
def test_google_queries_carry_no_variables_and_still_parse(name: str) -> None:
    def queries(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["prometheusQuery"]] if "prometheusQuery" in value else []
            return own + [query for child in value.values() for query in queries(child)]
        return [query for child in value for query in queries(child)] if isinstance(value, list) else []

    found = queries(GOOGLE[name])
    board = next(board for board in BOARDS if name == f"google/{board.uid}.json")
    assert len(found) == sum(1 if panel.shape is Shape.STAT else len(panel.queries) for panel in board.panels)
    for query in found:
        assert "$" not in query
        assert selectors(query)


def test_stripping_variables_keeps_the_other_matchers() -> None:
    expr = (
        'a{namespace=~"$namespace", model=~"$model", type="Ready"} / b{namespace=~"$namespace"} '
        '+ c{x="y", model=~"$model"}'
    )
    assert cloud_monitoring.without_variables(expr) == 'a{type="Ready"} / b + c{x="y"}'
