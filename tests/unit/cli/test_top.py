"""`gemma-operator top`: the same rows from a Prometheus and from the pages of the gateways."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gemma_monitoring.promql import selectors
from gemma_monitoring.registry import SERIES, TARGET_LABELS
from gemma_operator.__main__ import main
from gemma_operator.cli.exposition import bucket_quantile, increase, parse
from gemma_operator.cli.fleet import FleetRow, queries, rows_between
from gemma_operator.cli.top import fleet_table, fleet_total
from gemma_serving.contract import EngineStats
from gemma_serving.gateway.metrics import Metrics
from support.runtime_configs import runtime_config

ANSWER = {"gemma_deployment_replicas_ready": 2, "gemma_deployment_replicas_desired": 3}


@contextmanager
def answering(handle: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handle)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class PrometheusApi(BaseHTTPRequestHandler):
    """Knows one endpoint, its replicas and nothing else."""

    def do_GET(self) -> None:
        expr = parse_qs(urlsplit(self.path).query)["query"][0]
        names = [selector.name for selector in selectors(expr)]
        known = [ANSWER[name] for name in names if name in ANSWER]
        series = {"metric": {"namespace": "chat", "model": "assistant"}}
        result = [series | {"value": [0, str(known[0])]}] if known else []
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def page_of(metrics: Metrics) -> str:
    return metrics.render().decode()


def test_rows_come_from_a_prometheus(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(PrometheusApi) as url:
        assert main(["top", "--prometheus", url, "--output", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["namespace"], row["name"], row["ready"], row["desired"]) == ("chat", "assistant", 2, 3)
    assert row["requests_per_second"] is None


def test_once_prints_a_plain_table_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(PrometheusApi) as url:
        assert main(["top", "--prometheus", url, "--once"]) == 0
    printed = capsys.readouterr().out
    assert "chat/assistant" in printed
    assert "2/3" in printed


def test_nothing_that_answers_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--prometheus", "http://127.0.0.1:9", "--once"]) == 2
    assert "kubectl -n NAMESPACE port-forward" in capsys.readouterr().err


def test_no_source_names_all_three(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_URL", raising=False)
    assert main(["top"]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in ("--prometheus", "$PROMETHEUS_URL", "--scrape"))


def test_a_page_that_is_no_gateways_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(PrometheusApi) as url:
        assert main(["top", "--scrape", url, "--interval", "0.01", "--once"]) == 2
    assert "no metrics at" in capsys.readouterr().err


@pytest.mark.parametrize("namespace", [None, "chat"])
def test_queries_parse_and_name_what_is_emitted(namespace: str | None) -> None:
    assert queries(namespace, 60).keys() <= FleetRow.__dataclass_fields__.keys()
    for expr in queries(namespace, 60).values():
        for selector in selectors(expr):
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= SERIES[selector.name].labels | TARGET_LABELS
            assert (namespace is not None) == ("namespace" in labels)


def test_two_pages_of_two_replicas_make_one_row() -> None:
    replicas = [Metrics(runtime_config(model="assistant", max_concurrent_requests=4)) for _ in range(2)]
    before = [parse("u", page_of(replica)) for replica in replicas]
    for replica in replicas:
        replica.running.set(3)
        replica.waiting.set(1)
        replica.generation_tokens.inc(500)
        replica.engine.stats = EngineStats(3, 1, 250, 1000, 500, 1.0)
        for _ in range(10):
            replica.request_ended("success")
            replica.ttft.observe(0.15)
    [row] = rows_between(before, [parse("u", page_of(replica)) for replica in replicas], 10.0)
    assert row.name == "assistant"
    assert (row.running, row.slots, row.waiting) == (6, 8, 2)
    assert (row.requests_per_second, row.tokens_per_second, row.kv_cache_ratio) == (2.0, 100.0, 0.25)
    assert row.ttft_p95_seconds == pytest.approx(0.1475)  # within the bucket from 0.1 to 0.15


def test_a_replica_that_restarted_counts_from_zero() -> None:
    old, new = Metrics(runtime_config()), Metrics(runtime_config())
    old.generation_tokens.inc(1000)
    new.generation_tokens.inc(40)
    before, after = parse("u", page_of(old)), parse("u", page_of(new))
    assert increase(before, after, "gemma_generation_tokens_total") == 40


def test_no_request_has_no_percentile() -> None:
    page = parse("u", page_of(Metrics(runtime_config())))
    [row] = rows_between([page], [page], 1.0)
    assert row.ttft_p95_seconds is None


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_ranked_observation(values: list[float], wanted: float) -> None:
    bounds = [0.5, 1.0, 2.5, 5.0, 10.0]
    buckets = [(b, float(sum(v <= b for v in values))) for b in bounds] + [(float("inf"), float(len(values)))]
    found = bucket_quantile(buckets, wanted)
    assert found is not None
    rank = wanted * len(values)
    upper = next(bound for bound, count in buckets if count >= rank and count > 0)
    lower = max([0.0, *(bound for bound, count in buckets if count < rank)])
    assert lower <= found <= upper


def test_beyond_the_last_bound_the_last_bound_is_answered() -> None:
    assert bucket_quantile([(1.0, 0.0), (2.0, 1.0), (float("inf"), 10.0)], 0.9) == 2.0


def test_several_endpoints_are_summed_where_sums_mean_something() -> None:
    rows = [
        FleetRow(
            "chat", "a", ready=1, desired=1, tokens_per_second=10.0, hourly_cost=0.7, ttft_p95_seconds=0.1
        ),
        FleetRow("chat", "b", ready=0, desired=2, tokens_per_second=5.0, ttft_p95_seconds=0.2),
    ]
    total = fleet_total(rows)
    assert (total.ready, total.desired, total.tokens_per_second, total.hourly_cost) == (1, 3, 15.0, 0.7)
    assert total.ttft_p95_seconds is None


def test_an_endpoint_without_a_ready_replica_is_red() -> None:
    console = Console(width=200, force_terminal=True, color_system="standard", record=True)
    console.print(fleet_table([FleetRow("chat", "a", ready=0, desired=1)]))
    assert re.search(r"\x1b\[31m *0/1", console.export_text(styles=True))


def test_an_endpoint_at_zero_on_purpose_is_not() -> None:
    console = Console(width=200, force_terminal=True, color_system="standard", record=True)
    console.print(fleet_table([FleetRow("chat", "a", ready=0, desired=0)]))
    assert not re.search(r"\x1b\[31m *0/0", console.export_text(styles=True))
