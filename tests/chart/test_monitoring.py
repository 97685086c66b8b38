"""The chart's monitors, rules and dashboards: what each kind of cluster gets, and that its API accepts it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chart.conftest import CHART, Render
from gemma_monitoring.dashboards import BOARDS
from gemma_monitoring.rules import ALERTS
from gemma_operator.api.manifest import ROLE_LABEL, SERVING, Owner, selector_labels
from gemma_operator.resources.layout import ADMIN_PORT

pytestmark = pytest.mark.cluster

PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
"""Of its Go module only the definitions in example/ are read; nothing of it is built or shipped."""
COREOS = ("--api-versions", "monitoring.coreos.com/v1/PodMonitor")
GOOGLE = ("--api-versions", "monitoring.googleapis.com/v1/ClusterPodMonitoring")
GRAFANA_OPERATOR = ("--api-versions", "grafana.integreatly.org/v1beta1/GrafanaDashboard")
MONITORING_KINDS = {"PodMonitor", "PrometheusRule", "ClusterPodMonitoring", "ClusterRules"}
GOOGLE_RULE_FIELDS = {"alert", "annotations", "expr", "for", "labels", "record"}
"""Of the definition in prometheus-engine; others would be pruned silently."""

Manifest = dict[str, Any]


def of_kind(documents: list[Manifest], kind: str) -> list[Manifest]:
    return [document for document in documents if document["kind"] == kind]


def monitoring_kinds(documents: list[Manifest]) -> set[str]:
    return {document["kind"] for document in documents} & MONITORING_KINDS


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as the API server's strict validation does."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if "properties" in inner and not inner.get("x-kubernetes-preserve-unknown-fields"):
        inner.setdefault("additionalProperties", False)
    if str(inner.get("pattern", "")).startswith("^(?i)"):
        # Go's regular expressions take flags anywhere, Python's only at the start.
        inner["pattern"] = "(?i)" + inner["pattern"].replace("(?i)", "")
    if inner.get("x-kubernetes-int-or-string"):
        inner = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    return inner


@pytest.fixture(scope="session")
def definitions() -> dict[str, Any]:
    """Kind to schema, of prometheus-operator."""
    command = ["go", "mod", "download", "-json", PROMETHEUS_OPERATOR]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, (
        f"the definitions cannot be downloaded; is the Go module proxy reachable?\n{done.stdout}"
    )
    folder = Path(json.loads(done.stdout)["Dir"]) / "example/prometheus-operator-crd"
    schemas = {}
    for name in ("podmonitors", "prometheusrules"):
        crd = yaml.safe_load((folder / f"monitoring.coreos.com_{name}.yaml").read_text())
        [version] = [v for v in crd["spec"]["versions"] if v["name"] == "v1"]
        schemas[crd["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return schemas


def test_prometheus_operator_accepts_its_objects(render: Render, definitions: dict[str, Any]) -> None:
    documents = [d for d in render(*COREOS, "--set", "frontDoor.enabled=true") if d["kind"] in definitions]
    assert len(documents) == 4
    for document in documents:
        schema = closed(definitions[document["kind"]])
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema.validate(document, schema)


def test_the_validation_above_can_fail(definitions: dict[str, Any]) -> None:
    schema = closed(definitions["PrometheusRule"])
    with pytest.raises(jsonschema.ValidationError, match="frobnicate"):
        jsonschema.validate({"spec": {"groups": [{"name": "x", "frobnicate": 1}]}}, schema)
    with pytest.raises(jsonschema.ValidationError, match="does not match"):
        jsonschema.validate({"spec": {"groups": [{"name": "x", "interval": "soon"}]}}, schema)


def test_google_objects_use_only_fields_that_are_kept(render: Render) -> None:
    documents = render(*GOOGLE)
    [rules] = of_kind(documents, "ClusterRules")
    for group in rules["spec"]["groups"]:
        assert set(group) == {"name", "interval", "rules"}
        assert all(set(rule) <= GOOGLE_RULE_FIELDS for rule in group["rules"])
    for monitoring in of_kind(documents, "ClusterPodMonitoring"):
        assert set(monitoring["spec"]) <= {"selector", "endpoints", "targetLabels"}
        assert all(
            set(endpoint) <= {"port", "path", "interval"} for endpoint in monitoring["spec"]["endpoints"]
        )


@pytest.mark.parametrize(
    ("has", "kinds"),
    [
        ((), set()),
        (COREOS, {"PodMonitor", "PrometheusRule"}),
        (GOOGLE, {"ClusterPodMonitoring", "ClusterRules"}),
        ((*COREOS, *GOOGLE), MONITORING_KINDS),
    ],
    ids=["neither", "prometheus-operator", "google", "both"],
)
def test_auto_renders_what_the_cluster_has_definitions_of(
    render: Render, has: tuple[str, ...], kinds: set[str]
) -> None:
    documents = render(*has)
    assert monitoring_kinds(documents) == kinds
    [deployment] = of_kind(documents, "Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert ("prometheus.io/scrape" in annotations) == (not kinds)


def test_a_choice_is_kept_whatever_the_cluster_has(render: Render) -> None:
    assert monitoring_kinds(render("--set", "monitoring.scrape=None", *COREOS)) == set()
    assert monitoring_kinds(render("--set", "monitoring.scrape=PrometheusOperator")) == {
        "PodMonitor",
        "PrometheusRule",
    }
    assert monitoring_kinds(render("--set", "monitoring.rules.enabled=false", *COREOS)) == {"PodMonitor"}


@pytest.mark.parametrize(("has", "kind"), [(COREOS, "PrometheusRule"), (GOOGLE, "ClusterRules")])
def test_rules_are_the_file_that_promtool_tested(render: Render, has: tuple[str, ...], kind: str) -> None:
    [wrapped] = of_kind(render(*has), kind)
    assert wrapped["spec"] == yaml.safe_load((CHART / "rules/gemma.rules.yaml").read_text())


def test_runbooks_lead_where_this_installation_has_them(render: Render) -> None:
    base = "https://wiki.example.com/gemma/"
    [wrapped] = of_kind(render("--set", f"monitoring.rules.runbookBaseUrl={base}", *COREOS), "PrometheusRule")
    urls = {
        r["annotations"]["runbook_url"] for g in wrapped["spec"]["groups"] for r in g["rules"] if "alert" in r
    }
    assert urls == {f"{base}{alert.name}" for alert in ALERTS}


def test_monitors_carry_the_labels_that_a_prometheus_selects(render: Render) -> None:
    documents = render("--set", "monitoring.labels.release=kube-prometheus-stack", *COREOS)
    for document in [d for d in documents if d["kind"] in MONITORING_KINDS]:
        assert document["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def serving_monitors(render: Render) -> Iterator[Manifest]:
    for document in render(*COREOS, *GOOGLE):
        if document["kind"] in {"PodMonitor", "ClusterPodMonitoring"} and document["metadata"][
            "name"
        ].endswith("-serving"):
            yield document


def test_serving_pods_of_every_endpoint_are_selected_and_weights_pods_are_not(render: Render) -> None:
    labels = selector_labels(Owner("assistant", "chat", "1", 1), SERVING)
    monitors = list(serving_monitors(render))
    assert len(monitors) == 2
    for monitor in monitors:
        selector = monitor["spec"]["selector"]
        assert selector["matchLabels"] == {ROLE_LABEL: SERVING}
        assert selector["matchLabels"].items() <= labels.items()
        [unless] = selector["matchExpressions"]
        assert (unless["operator"], unless["values"]) == ("NotIn", ["none"])
    assert ADMIN_PORT == 9090


def test_namespaces_of_the_operator_bound_what_is_scraped(render: Render) -> None:
    monitors = of_kind(render(*COREOS, "--set", "watchNamespaces={team-a,team-b}"), "PodMonitor")
    [serving] = [m for m in monitors if m["metadata"]["name"].endswith("-serving")]
    assert serving["spec"]["namespaceSelector"] == {"matchNames": ["team-a", "team-b"]}


def test_labels_of_the_operators_own_series_survive_the_scrape(render: Render) -> None:
    """Its `namespace` is the endpoint's; the scrape's would be the operator's."""
    documents = render(*COREOS, *GOOGLE)
    [own] = [m for m in of_kind(documents, "PodMonitor") if not m["metadata"]["name"].endswith("-serving")]
    assert all(endpoint["honorLabels"] for endpoint in own["spec"]["podMetricsEndpoints"])
    [google] = [
        m
        for m in of_kind(documents, "ClusterPodMonitoring")
        if not m["metadata"]["name"].endswith("-serving")
    ]
    assert google["spec"]["targetLabels"] == {"metadata": []}


def dashboard_maps(documents: list[Manifest]) -> list[Manifest]:
    return [d for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"].endswith("-dashboard")]


def test_the_sidecar_finds_every_dashboard_as_it_was_generated(render: Render) -> None:
    maps = dashboard_maps(render())
    found = {name: text for each in maps for name, text in each["data"].items()}
    assert set(found) == {f"{board.uid}.json" for board in BOARDS}
    for name, text in found.items():
        assert text == (CHART / "dashboards/grafana" / name).read_text()
    for each in maps:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Gemma"}


def test_dashboards_can_live_elsewhere_or_nowhere(render: Render) -> None:
    elsewhere = dashboard_maps(render("--set", "monitoring.dashboards.namespace=grafana"))
    assert {each["metadata"]["namespace"] for each in elsewhere} == {"grafana"}
    assert dashboard_maps(render("--set", "monitoring.dashboards.enabled=false")) == []


def test_the_grafana_operator_gets_its_objects_only_where_it_is_asked_and_installed(render: Render) -> None:
    asked = ("--set", "monitoring.dashboards.instanceSelector.matchLabels.dashboards=grafana")
    assert of_kind(render(*GRAFANA_OPERATOR), "GrafanaDashboard") == []
    assert of_kind(render(*asked), "GrafanaDashboard") == []
    documents = render(*asked, *GRAFANA_OPERATOR)
    made = of_kind(documents, "GrafanaDashboard")
    keys = {(each["metadata"]["name"], key) for each in dashboard_maps(documents) for key in each["data"]}
    references = {(m["spec"]["configMapRef"]["name"], m["spec"]["configMapRef"]["key"]) for m in made}
    assert references == keys


@pytest.mark.parametrize(
    "pair", ["monitoring.scrape=Sometimes", "monitoring.interval=often", "monitoring.dashbords.enabled=true"]
)
def test_values_that_mean_nothing_are_refused(render: Render, pair: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render("--set", pair)
    assert "monitoring" in refused.value.stderr
