"""`gemma-operator report`: numbers, texts and refusals. tests/cluster holds it against a real Prometheus."""

import json

import pytest

from gemma_monitoring.promql import selectors
from gemma_monitoring.registry import OBJECTIVES, SERIES, TARGET_LABELS, UNAVAILABLE_REASONS
from gemma_operator.__main__ import main
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.prometheus import Labels, Prometheus, Series
from gemma_operator.cli.report import duration
from gemma_operator.cli.report_data import UNAVAILABLE, EndpointReport, Period, collect
from gemma_operator.cli.report_plots import picture
from gemma_operator.cli.report_text import as_json, html, markdown, outcomes, seconds, share

PERIOD = Period(1_764_000_000.0, 1_764_086_400.0)


def report(**changes: object) -> EndpointReport:
    fields: dict[str, object] = {
        "namespace": "chat",
        "name": "assistant",
        "plan": {
            "variant": "gemma-3-4b-it",
            "engine": "VLLM",
            "accelerator": "nvidia-l4",
            "precision": "BF16",
        },
        "objectives": {"availability_ratio": 0.995, "ttft_p95_seconds": 1.5},
        "requests": {"success": 990.0, "failed": 4.0, "cancelled": 50.0, "invalid": 0.2},
        "turned_away": 6.0,
        "ttft_seconds": {0.5: 0.2, 0.95: 1.25, 0.99: 3.0},
        "tpot_seconds": {0.5: 0.02, 0.95: 0.03, 0.99: 0.05},
        "prompt_tokens": 100_000.0,
        "generation_tokens": 400_000.0,
        "mean_ready_replicas": 1.5,
        "peak_waiting": 12.0,
        "peak_kv_cache_ratio": 0.5,
        "cost": 16.8,
        "lines": {"Cost per hour": [Series({"line": "cost"}, (PERIOD.start, PERIOD.end), (0.7, 0.7))]},
    }
    return EndpointReport(**{**fields, **changes})  # type: ignore[arg-type]


class Recorder(Prometheus):
    """Remembers what it is asked and knows nothing."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.asked: list[str] = []

    def instant(self, expr: str, at: float | None = None) -> dict[Labels, float]:
        self.asked.append(expr)
        return {}

    def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append(expr)
        return []


@pytest.mark.parametrize("namespace", [None, "chat"])
def test_every_question_parses_and_names_what_is_emitted(namespace: str | None) -> None:
    prometheus = Recorder()
    assert collect(prometheus, PERIOD, namespace) == []
    assert len(prometheus.asked) > 20
    for expr in prometheus.asked:
        for selector in selectors(expr):
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= SERIES[selector.name].labels | TARGET_LABELS
            assert (namespace is not None) == ("namespace" in labels)


def test_availability_is_judged_as_the_rules_judge_it() -> None:
    assert report().availability == pytest.approx(0.99)
    assert report(requests={"cancelled": 3.0}, turned_away=0.0).availability is None
    assert f'reason=~"{"|".join(UNAVAILABLE_REASONS)}"' == UNAVAILABLE
    assert set(report().objectives) <= set(OBJECTIVES)


def test_cost_per_million_tokens_is_cost_over_what_was_generated() -> None:
    assert report().cost_per_million_tokens == pytest.approx(42.0)
    assert report(generation_tokens=0.0).cost_per_million_tokens is None


def test_markdown_puts_objective_beside_measurement() -> None:
    text = markdown([report()], PERIOD, {"chat/assistant": "r.pictures/chat-assistant.png"})
    assert "| availability | 99 % | 99.5 % |" in text
    assert "| time to first token p50 / p95 / p99 | 200 ms / 1.25 s / 3.00 s | 1.50 s |" in text
    assert "![Cost per hour](r.pictures/chat-assistant.png)" in text


def test_html_is_one_file_with_its_pictures_and_escapes_what_it_prints() -> None:
    drawn = picture(report(), PERIOD)
    assert drawn is not None
    assert drawn.startswith(b"\x89PNG")
    text = html([report(name="<b>")], PERIOD, {"chat/<b>": drawn})
    assert "data:image/png;base64," in text
    assert "<b>" not in text
    assert 'src="http' not in text


def test_json_holds_numbers_and_lines() -> None:
    [endpoint] = json.loads(as_json([report()], PERIOD))["endpoints"]
    assert (endpoint["availability"], endpoint["cost"]) == (pytest.approx(0.99), 16.8)
    assert endpoint["lines"]["Cost per hour"][0]["values"] == [0.7, 0.7]


def test_nothing_measured_is_a_dash_and_still_a_picture() -> None:
    empty = report(
        requests={}, ttft_seconds={}, tpot_seconds={}, cost=None, turned_away=0.0, lines={"Cost per hour": []}
    )
    text = markdown([empty], PERIOD, {})
    assert "| availability | – | 99.5 % |" in text
    assert "| cost | – |" in text
    assert picture(empty, PERIOD) is not None


@pytest.mark.parametrize(("value", "text"), [(0.9999, "99.99 %"), (1.0, "100 %"), (0.5, "50 %"), (None, "–")])
def test_shares_tell_three_nines_from_four(value: float | None, text: str) -> None:
    assert share(value) == text


def test_outcomes_that_did_not_happen_are_left_out() -> None:
    assert outcomes({"failed": 3.0, "success": 1204.0, "invalid": 0.3}) == "success 1,204, failed 3"
    assert seconds(0.0421) == "42 ms"


@pytest.mark.parametrize(("text", "expected"), [("90m", 5400.0), ("24h", 86400.0), ("7d", 604800.0)])
def test_durations(text: str, expected: float) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "24", "0h", "-1h", "1y", "1.5h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="such as 24h"):
        duration(text)


def test_no_prometheus_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--prometheus", "http://127.0.0.1:9"]) == 2
    assert "no Prometheus answers" in capsys.readouterr().err
