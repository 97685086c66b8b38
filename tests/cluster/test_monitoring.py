"""Metrics, rules, dashboards and alerts on a live run: a real Prometheus scrapes real pods under load.

`MONITORING_PICTURES=FOLDER` keeps a picture of every dashboard; docs/monitoring.md shows those of one run.
"""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.conftest import Installed, until
from cluster.endpoint import PROMPT, Endpoint, spec
from gemma_devcluster import builder, installation
from gemma_devcluster.toolsets import PROMETHEUS
from gemma_monitoring.pictures import write_all
from gemma_monitoring.registry import METRICS, TARGET_LABELS, Emitter, Kind
from gemma_operator.__main__ import main
from support.prometheus_server import PrometheusServer, hastened, running

RULES = Path(__file__).parents[2] / "charts/gemma-operator/rules/gemma.rules.yaml"
NAMESPACE = "monitoring"
ALERT_SECONDS = 15
"""Instead of each alert's `for`."""
LOAD_SECONDS = 60
CALLERS = 6
SLOTS = 2
QUEUE = 2
MOST_SERIES = 300
OBJECTIVES = {
    "timeToFirstTokenP95Seconds": 60,
    "timePerOutputTokenP95Seconds": 10,
    "availabilityPercent": 99,
}
NEVER_IN_A_SHORT_RUN = {
    "gemma_safety_decisions_total",
    "gemma_deployment_hourly_cost",
}
"""Emitted only with spec.safety, and with a price."""


@dataclass(frozen=True)
class Live:
    """An endpoint that was asked for a while, and what Prometheus has of it."""

    endpoint: Endpoint
    prometheus: PrometheusServer
    started: float

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire now, with the endpoint they are about."""
        found = self.prometheus.api.instant('ALERTS{alertstate="firing"}')
        return {(dict(labels)["alertname"], dict(labels).get("model", "")) for labels in found}


@pytest.fixture(scope="module")
def live(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    binary = builder.ensure((PROMETHEUS,)).path("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    installed.kubectl.apply([installation.namespace(NAMESPACE)])
    endpoint = Endpoint(installed.kubectl, NAMESPACE, "assistant")
    rules = hastened(RULES, ALERT_SECONDS)
    try:
        with running(binary, folder, installed.cluster.kubeconfig(), rules) as prometheus:
            started = time.time()
            capacity = {
                "maxConcurrentRequests": SLOTS,
                "maxQueuedRequests": QUEUE,
                "requestTimeoutSeconds": 60,
            }
            endpoint.apply(spec(capacity=capacity, monitoring={"objectives": OBJECTIVES}))
            endpoint.wait("Ready")
            ask_for(LOAD_SECONDS, endpoint)
            yield Live(endpoint, prometheus, started)
    finally:
        installed.kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


def ask_for(seconds: float, endpoint: Endpoint) -> None:
    """More callers than slots and queue hold together; one of them sends nonsense, one hangs up."""
    url = f"{endpoint.url()}/v1/completions"
    until_time = time.monotonic() + seconds
    good: dict[str, Any] = {"model": endpoint.name, "prompt": PROMPT, "max_tokens": 24, "temperature": 0}

    def call(number: int) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while time.monotonic() < until_time:
                if number == 0:
                    client.post(url, json={**good, "max_tokens": -1})
                    time.sleep(1)
                elif number == 1:
                    with client.stream("POST", url, json={**good, "stream": True}) as answer:
                        next(answer.iter_lines(), None)
                else:
                    client.post(url, json=good)

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(call, range(CALLERS)))


def test_every_panel_shows_data_or_says_what_it_needs(live: Live, tmp_path: Path) -> None:
    folder = Path(os.environ.get("MONITORING_PICTURES") or tmp_path)
    answers = write_all(live.prometheus.api, folder, live.started, time.time())
    empty = {answer.panel.title: answer.panel.needs for answer in answers if answer.is_empty}
    print(f"{len(answers)} panels, {len(answers) - len(empty)} filled, empty: {empty}")
    assert {title for title, needs in empty.items() if not needs} == set()
    assert len(list(folder.glob("gemma-*.png"))) == 6


def test_every_declared_metric_is_emitted_with_its_type_and_labels(live: Live) -> None:
    with urllib.request.urlopen(f"{live.prometheus.url}/api/v1/metadata") as answer:
        types = {name: entries[0]["type"] for name, entries in json.load(answer)["data"].items()}
    for metric in METRICS:
        if metric.emitter not in {Emitter.GATEWAY, Emitter.OPERATOR} or metric.name in NEVER_IN_A_SHORT_RUN:
            continue
        assert types[metric.name] == metric.kind.value, metric.name
        name = f"{metric.name}_count" if metric.kind is Kind.HISTOGRAM else metric.name
        # Over the whole run: some are there only while a pod loads.
        series = live.prometheus.api.instant(f"last_over_time({name}[15m])")
        assert series, f"nobody emits {name}"
        labels = {label for each in series for label, _ in each} - {"__name__"}
        assert metric.labels <= labels, name
        assert labels <= metric.labels | TARGET_LABELS, name


def test_a_serving_pod_has_at_most_300_series(live: Live) -> None:
    sizes = live.prometheus.api.instant('max_over_time(scrape_samples_scraped{job="serving"}[5m])')
    seconds = live.prometheus.api.instant(
        'quantile_over_time(0.5, scrape_duration_seconds{job="serving"}[5m])'
    )
    print(f"series per serving pod {sorted(sizes.values())}, scrape {sorted(seconds.values())} s (median)")
    assert sizes
    assert max(sizes.values()) <= MOST_SERIES


def test_nothing_but_the_overload_alerts(live: Live) -> None:
    ask_for(ALERT_SECONDS * 2, live.endpoint)
    overload = {
        "GemmaAvailabilityBurnFast",
        "GemmaAvailabilityBurnSlow",
        "GemmaRequestsRejected",
        "GemmaQueueSustained",
    }
    firing = live.firing()
    assert ("GemmaRequestsRejected", live.endpoint.name) in firing
    assert {name for name, _ in firing} <= overload


def test_top_and_report_read_the_run(live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--prometheus", live.prometheus.url, "--output", "json"]) == 0
    [row] = [row for row in json.loads(capsys.readouterr().out) if row["name"] == live.endpoint.name]
    assert (row["ready"], row["desired"], row["slots"]) == (1, 1, SLOTS)
    page = tmp_path / "report.html"
    period = ["--since", "10m", "--format", "html", "--output", str(page)]
    assert main(["report", "--prometheus", live.prometheus.url, *period]) == 0
    assert "data:image/png;base64," in page.read_text()


def test_weights_that_cannot_be_fetched_alert_and_nothing_else(live: Live, installed: Installed) -> None:
    broken = Endpoint(installed.kubectl, NAMESPACE, "broken")
    source = {"huggingFace": {"repository": "google/no-such-model", "revision": "main"}}
    body = spec()
    broken.apply({**body, "model": {**body["model"], "source": source}})
    until(lambda: ("GemmaWeightsFailing", "broken") in live.firing(), "GemmaWeightsFailing")
    assert {name for name, model in live.firing() if model == "broken"} == {"GemmaWeightsFailing"}
    broken.kubectl("delete", "gemmadeployment/broken", "--wait=true")
    until(
        lambda: not any(model == "broken" for _, model in live.firing()),
        "alerts of a deleted endpoint to end",
    )


def test_pods_that_no_node_has_room_for_alert_and_nothing_else(live: Live, installed: Installed) -> None:
    large = Endpoint(installed.kubectl, NAMESPACE, "large")
    large.apply(spec(hardware={"cpu": "1800m"}))
    until(lambda: ("GemmaPodsNotStarting", "large") in live.firing(), "GemmaPodsNotStarting")
    assert {name for name, model in live.firing() if model == "large"} == {"GemmaPodsNotStarting"}
    large.kubectl("delete", "gemmadeployment/large", "--wait=true")


def test_a_spec_that_cannot_be_served_alerts_and_nothing_else(live: Live, installed: Installed) -> None:
    unknown = Endpoint(installed.kubectl, NAMESPACE, "unknown")
    unknown.apply({"model": {"variant": "gemma-3-8b-it"}})
    until(lambda: ("GemmaSpecRefused", "unknown") in live.firing(), "GemmaSpecRefused")
    assert {name for name, model in live.firing() if model == "unknown"} == {"GemmaSpecRefused"}
    unknown.kubectl("delete", "gemmadeployment/unknown", "--wait=true")


def test_an_endpoint_at_zero_on_purpose_alerts_nobody(live: Live) -> None:
    live.endpoint.kubectl(
        "patch", f"gemmadeployment/{live.endpoint.name}", "--type=merge", "-p", '{"spec":{"suspend":true}}'
    )
    until(
        lambda: live.prometheus.api.instant("gemma:replicas_desired:max").get(identity(live.endpoint)) == 0,
        "zero replicas",
    )
    time.sleep(ALERT_SECONDS * 2)
    readiness = {"GemmaNoReadyReplica", "GemmaReplicasMissing", "GemmaMetricsAbsent", "GemmaLoadingStuck"}
    assert not {name for name, _ in live.firing()} & readiness


def test_an_operator_that_is_gone_alerts(live: Live, installed: Installed) -> None:
    installed.scale_operator(0)
    try:
        until(lambda: ("GemmaOperatorDown", "") in live.firing(), "GemmaOperatorDown")
    finally:
        installed.scale_operator(1)
    until(lambda: ("GemmaOperatorDown", "") not in live.firing(), "GemmaOperatorDown to end")


def identity(endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
    words = {"__name__": "gemma:replicas_desired:max", "namespace": NAMESPACE, "model": endpoint.name}
    return tuple(sorted(words.items()))
