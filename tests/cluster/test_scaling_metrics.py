"""The operator's own questions, put to a real Prometheus: the answers behind each reason of ScalingActive."""

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from gemma_devcluster import builder
from gemma_devcluster.toolsets import PROMETHEUS
from gemma_devcluster.waiting import await_value
from gemma_operator.api.manifest import Owner
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog import load_catalog
from gemma_operator.controller.metric_source import PrometheusSource
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.plan import Plan
from gemma_operator.planning.planner import make_plan
from gemma_operator.resources.autoscaling.signals import Source, Sources, sources_for
from gemma_operator.settings import OperatorSettings
from gemma_operator.status.scaling import Reading
from support.prometheus_server import PrometheusServer, running

pytestmark = pytest.mark.cluster

PAGE = """\
gemma_requests_waiting{model="assistant"} 8
gemma_requests_running{model="assistant"} 4
gemma_kv_cache_used_tokens{model="assistant"} 512
gemma_kv_cache_total_tokens{model="assistant"} 2048
gemma_front_door_requests_waiting{endpoint_namespace="team-a",model="assistant"} 3
gemma_front_door_requests_running{endpoint_namespace="team-a",model="assistant"} 4
gemma_kv_cache_used_tokens{exported_model="renamed"} 1
"""
EVERY_SIGNAL = [{"signal": "KVCacheUtilization"}, {"signal": "TimeToFirstToken"}]


class Page(BaseHTTPRequestHandler):
    """A pod's metrics."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    pod = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=pod.serve_forever, daemon=True).start()
    labels = {"namespace": "team-a"}
    target = {"targets": [f"127.0.0.1:{pod.server_port}"], "labels": labels}
    scrape = {"job_name": "pods", "static_configs": [target]}
    binary = builder.ensure([PROMETHEUS]).path("prometheus")
    with running(binary, tmp_path_factory.mktemp("prometheus"), [scrape], {"groups": []}) as prometheus:
        source = next(each for each in sources("assistant").sources if each.name == "door_waiting")
        await_value(lambda: True if read(prometheus.url, source).value is not None else None, 30, "a scrape")
        yield prometheus
    pod.shutdown()


def sources(name: str, namespace: str = "team-a") -> Sources:
    spec = GemmaDeploymentSpec.model_validate(
        {
            "model": {"variant": "gemma-3-270m", "contextLength": 512},
            "hardware": {"accelerator": "cpu"},
            "scaling": {"minReplicas": 0, "maxReplicas": 3, "additionalSignals": EVERY_SIGNAL},
        }
    )
    plan = make_plan(spec, load_catalog(), OperatorSettings().planning(), Inventory())
    assert isinstance(plan, Plan)
    assert spec.scaling is not None
    return sources_for(Owner(name, namespace, "uid", 1), spec, spec.scaling, plan)


def read(url: str, source: Source) -> Reading:
    return asyncio.run(PrometheusSource(url).read(source))


def test_every_query_of_the_autoscaler_gives_its_number(server: PrometheusServer) -> None:
    found = {source.name: read(server.url, source) for source in sources("assistant").sources}
    assert {name: reading.value for name, reading in found.items()} == {
        "running": 4.0,
        "door_running": 4.0,
        "door_waiting": 3.0,
        "waiting": 8.0,
        "kv_cache": 0.25,
        "first_token": 0.0,
    }
    assert all(reading.age_seconds is not None and reading.age_seconds < 60 for reading in found.values())


def test_at_zero_pods_count_as_nothing_and_the_front_door_has_to_be_there(server: PrometheusServer) -> None:
    found = {source.name: read(server.url, source) for source in sources("asleep").sources}
    assert (found["waiting"].value, found["waiting"].is_assumed) == (0.0, True)
    assert found["door_waiting"].value is None


def test_other_labels_are_shown(server: PrometheusServer) -> None:
    source = next(s for s in sources("assistant", namespace="team-b").sources if s.name == "door_waiting")
    reading = read(server.url, source)
    assert reading.value is None
    assert any('endpoint_namespace="team-a"' in labels for labels in reading.elsewhere)


def test_series_of_other_endpoints_are_no_mismatch(server: PrometheusServer) -> None:
    source = next(s for s in sources("unscraped").sources if s.name == "door_waiting")
    reading = read(server.url, source)
    assert (reading.value, reading.elsewhere) == (None, ())


def test_a_series_that_lost_its_label_is_shown_whatever_it_is_called_now(server: PrometheusServer) -> None:
    source = next(s for s in sources("renamed").sources if s.name == "kv_cache")
    reading = read(server.url, source)
    assert any('exported_model="renamed"' in labels for labels in reading.elsewhere)


def test_a_server_that_is_down_is_an_error_and_no_number() -> None:
    reading = read("http://127.0.0.1:9", sources("assistant").sources[0])
    assert reading.value is None
    assert reading.error is not None
    assert reading.error.startswith("cannot connect")
    assert "ssl" not in reading.error
