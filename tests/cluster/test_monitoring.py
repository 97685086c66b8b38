"""Metrics, rules, dashboards and alerts on a live run: a real Prometheus scrapes real pods under load.

Faults that need no processor time are there from the start, so that their alerts ripen under the load.
`MONITORING_PICTURES=FOLDER` keeps a picture of every dashboard; docs/monitoring.md shows those of one run.
"""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster import runbooks
from cluster.conftest import Installed, until
from cluster.endpoint import PROMPT, Endpoint, spec
from cluster.namespaces import guarded_namespace
from gemma_devcluster import builder, installation
from gemma_devcluster.toolsets import PROMETHEUS
from gemma_monitoring.pictures import ask_all, draw_all
from gemma_monitoring.registry import METRICS, TARGET_LABELS, Emitter, Kind
from gemma_operator.__main__ import main
from support.prometheus_server import PrometheusServer, hastened, pods_of, running

RULES = Path(__file__).parents[2] / "charts/gemma-operator/rules/gemma.rules.yaml"
NAMESPACE = "monitoring"
ALERT_SECONDS = 10
"""Instead of each alert's `for`."""
LOAD_SECONDS = 30
CALLERS = 6
SLOTS = 2
QUEUE = 2
MOST_SERIES = 300
KILLS = 3
"""The kubelet waits 0, 10 and 20 s before it starts a container again: the last outlasts ALERT_SECONDS."""
OBJECTIVES = {
    "timeToFirstTokenP95Seconds": 60,
    "timePerOutputTokenP95Seconds": 10,
    "availabilityPercent": 99,
}
NEVER_IN_A_SHORT_RUN = {
    "gemma_safety_decisions_total",
    "gemma_quality_score",
    "gemma_deployment_replicas_minimum",
    "gemma_deployment_replicas_maximum",
    "gemma_deployment_hourly_cost",
}
"""Emitted only with spec.safety, where answers are sampled, with spec.scaling, and with a price."""
OVERLOAD = {
    "GemmaAvailabilityBurnFast",
    "GemmaAvailabilityBurnSlow",
    "GemmaRequestsRejected",
    "GemmaQueueSustained",
}
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "broken": (
        "GemmaWeightsFailing",
        spec(
            model={
                "variant": "gemma-3-270m",
                "contextLength": 1024,
                "source": {"huggingFace": {"repository": "google/no-such-model", "revision": "main"}},
            }
        ),
    ),
    "large": ("GemmaPodsNotStarting", spec(hardware={"cpu": "1800m"})),
    "unknown": ("GemmaSpecRefused", {"model": {"variant": "gemma-3-8b-it"}}),
}
"""By name: the one alert that is due, and the spec: no such weights, no node with room, no such variant."""


@dataclass(frozen=True)
class Live:
    """An endpoint that was asked for a while, and what Prometheus has of it."""

    endpoint: Endpoint
    prometheus: PrometheusServer
    started: float

    def firing(self, model: str) -> set[str]:
        """Alerts about a model (about none: the empty string) that fire now."""
        return self._names(f'ALERTS{{alertstate="firing", model="{model}"}}')

    def fired(self, model: str) -> set[str]:
        """Alerts about a model that fired at any time of the run."""
        return self._names(f'max_over_time(ALERTS{{alertstate="firing", model="{model}"}}[1h])')

    def _names(self, expr: str) -> set[str]:
        return {dict(labels)["alertname"] for labels in self.prometheus.api.instant(expr)}


@pytest.fixture(scope="module")
def live(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    binary = builder.ensure((PROMETHEUS,)).path("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    endpoint = Endpoint(installed.kubectl, NAMESPACE, "assistant")
    rules = hastened(RULES, ALERT_SECONDS)
    scrapes = pods_of(folder, installed.cluster.kubeconfig())
    with (
        guarded_namespace(installed.kubectl, NAMESPACE),
        running(binary, folder, scrapes, rules) as prometheus,
    ):
        started = time.time()
        capacity = {
            "maxConcurrentRequests": SLOTS,
            "maxQueuedRequests": QUEUE,
            "requestTimeoutSeconds": 60,
        }
        endpoint.apply(spec(capacity=capacity, monitoring={"objectives": OBJECTIVES}))
        for name, (_, body) in FAULTS.items():
            Endpoint(installed.kubectl, NAMESPACE, name).apply(body)
        endpoint.wait("Ready")
        ask_for(LOAD_SECONDS, endpoint)
        yield Live(endpoint, prometheus, started)


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


def test_every_panel_shows_data_or_says_what_it_needs(live: Live) -> None:
    boards = ask_all(live.prometheus.api, live.started, time.time())
    answers = [answer for panels in boards.values() for answer in panels.values()]
    empty = {answer.panel.title: answer.panel.needs for answer in answers if answer.is_empty}
    print(f"{len(answers)} panels, {len(answers) - len(empty)} filled, empty: {empty}")
    if "MONITORING_PICTURES" in os.environ:
        draw_all(boards, Path(os.environ["MONITORING_PICTURES"]))
    assert {title for title, needs in empty.items() if not needs} == set()


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


def test_a_request_leads_from_its_callers_trace_to_its_line_in_the_log(live: Live) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    httpx.post(
        f"{live.endpoint.url()}/v1/completions",
        json={"model": live.endpoint.name, "prompt": PROMPT, "max_tokens": 2},
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": "mine"},
        trust_env=False,
        timeout=60,
    ).raise_for_status()
    [pod] = live.endpoint.pod_names()
    lines = [json.loads(line) for line in live.endpoint.kubectl("logs", pod, "-c", "gateway").splitlines()]
    [line] = [line for line in lines if line.get("trace_id") == trace]
    assert (line["request_id"], line["outcome"], line["completion_tokens"]) == ("mine", "success", 2)
    assert PROMPT not in str(line)


def test_a_full_queue_fires_the_overload_alerts_and_no_others(live: Live) -> None:
    assert "GemmaRequestsRejected" in live.fired(live.endpoint.name)
    assert live.fired(live.endpoint.name) <= OVERLOAD
    assert live.fired("") == set()


def test_top_and_report_read_the_run(live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--prometheus", live.prometheus.url, "--output", "json"]) == 0
    [row] = [row for row in json.loads(capsys.readouterr().out) if row["name"] == live.endpoint.name]
    assert (row["ready"], row["desired"], row["slots"]) == (1, 1, SLOTS)
    page = tmp_path / "report.html"
    period = ["--since", "10m", "--format", "html", "--output", str(page)]
    assert main(["report", "--prometheus", live.prometheus.url, *period]) == 0
    assert "data:image/png;base64," in page.read_text()


def test_every_command_of_the_runbooks_that_looks_can_be_typed(live: Live, installed: Installed) -> None:
    """None is refused, and each shows something, unless there is nothing of the kind."""
    [pod] = live.endpoint.pod_names()
    names = {"NS": NAMESPACE, "NAME": live.endpoint.name, "POD": pod}
    names["OPERATOR-NS"] = installation.OPERATOR_NAMESPACE
    path = f"{installed.cluster.binaries.path('kubectl').parent}:{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(installed.cluster.kubeconfig()), "PATH": path}
    for command in runbooks.looking(names):
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
        )
        expected = done.returncode == 0 or runbooks.NEVER_RESTARTED in done.stderr
        assert expected, f"{command}\n{done.stderr}"
        assert done.stdout.strip() or runbooks.may_be_empty(command), command


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fires_its_alert_and_no_other(live: Live, name: str) -> None:
    alert = FAULTS[name][0]
    until(lambda: alert in live.firing(name), alert)
    assert live.fired(name) == {alert}


def test_a_deleted_endpoint_leaves_neither_series_nor_alerts(live: Live) -> None:
    about = '{job="operator", model=~"' + "|".join(FAULTS) + '"}'
    assert live.prometheus.api.instant(about)
    names = [f"gemmadeployment/{name}" for name in FAULTS]
    live.endpoint.kubectl("delete", *names, "--wait=true")
    until(lambda: not live.prometheus.api.instant(about), "series of deleted endpoints to end")
    until(lambda: not any(live.firing(name) for name in FAULTS), "alerts of deleted endpoints to end")


def test_an_engine_that_keeps_dying_alerts_and_nothing_else(live: Live, installed: Installed) -> None:
    [pod] = live.endpoint.pod_names()
    expected = {"GemmaCrashLoop", "GemmaNoReadyReplica"}
    for kill in range(1, KILLS + 1):
        installed.kill_container(NAMESPACE, pod, "triton")
        if kill < KILLS:
            restarted = f'{{.status.containerStatuses[?(@.name=="triton")].restartCount}}={kill}'
            live.endpoint.kubectl("wait", f"pod/{pod}", f"--for=jsonpath={restarted}", "--timeout=60s")
    until(lambda: expected <= live.firing(live.endpoint.name), "the alerts of a crash loop")
    assert live.fired(live.endpoint.name) <= expected | OVERLOAD
    assert live.fired("") == set()


def test_an_endpoint_at_zero_on_purpose_alerts_nobody(live: Live) -> None:
    live.endpoint.kubectl(
        "patch", f"gemmadeployment/{live.endpoint.name}", "--type=merge", "-p", '{"spec":{"suspend":true}}'
    )
    zero = f'gemma:replicas_desired:max{{model="{live.endpoint.name}"}} == 0'
    seconds = f"count_over_time(({zero})[1m:1s])"
    until(
        lambda: max(live.prometheus.api.instant(seconds).values(), default=0) > ALERT_SECONDS, "a while at 0"
    )
    readiness = {"GemmaNoReadyReplica", "GemmaReplicasMissing", "GemmaMetricsAbsent", "GemmaLoadingStuck"}
    assert not live.firing(live.endpoint.name) & readiness


def test_an_operator_that_is_gone_alerts_and_nothing_else(live: Live, installed: Installed) -> None:
    installed.scale_operator(0)
    try:
        until(lambda: live.firing("") == {"GemmaOperatorDown"}, "GemmaOperatorDown")
    finally:
        installed.scale_operator(1)
    until(lambda: live.firing("") == set(), "GemmaOperatorDown to end")
    assert live.fired("") == {"GemmaOperatorDown"}
