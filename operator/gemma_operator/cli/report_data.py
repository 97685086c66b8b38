"""What a report says of each endpoint over a period, asked of a Prometheus. Needs no recording rules."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from gemma_operator.cli.fleet import Endpoint, endpoint_of
from gemma_operator.cli.prometheus import Prometheus, Series

POINTS = 200
"""Of each plotted line."""
SHORTEST_STEP_SECONDS = 30
"""The chart's scrape interval; finer steps show nothing more."""
COST_STEP_SECONDS = 300
QUANTILES = (0.5, 0.95, 0.99)
UNAVAILABLE = 'reason=~"queue_full|evicted|deadline|limit_store_down"'
"""Refusals that are the endpoint's fault, as the rules count them."""


@dataclass(frozen=True, slots=True)
class Period:
    """From start to end, Unix seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start

    @property
    def step(self) -> float:
        """Between two points of a plotted line."""
        return max(SHORTEST_STEP_SECONDS, self.seconds / POINTS)

    def __str__(self) -> str:
        """Such as `2026-11-24 04:00 to 2026-11-25 04:00 UTC`."""
        start, end = (
            datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (self.start, self.end)
        )
        return f"{start} to {end} UTC"


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """One endpoint over the period. Latencies are quantile to seconds; None: nothing was measured."""

    namespace: str
    name: str
    plan: Mapping[str, str]
    """variant, engine, accelerator, precision."""
    objectives: Mapping[str, float]
    requests: Mapping[str, float]
    """Outcome to number."""
    turned_away: float
    """For lack of room."""
    ttft_seconds: Mapping[float, float]
    tpot_seconds: Mapping[float, float]
    prompt_tokens: float
    generation_tokens: float
    mean_ready_replicas: float | None
    peak_waiting: float | None
    peak_kv_cache_ratio: float | None
    cost: float | None
    """Of the whole period, in the price file's currency."""
    lines: Mapping[str, Sequence[Series]] = field(default_factory=dict)
    """Plot to its lines."""

    @property
    def title(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def availability(self) -> float | None:
        """Share of requests served, of those the endpoint could have served; None without any."""
        served, failed = self.requests.get("success", 0.0), self.requests.get("failed", 0.0)
        judged = served + failed + self.turned_away
        return served / judged if judged else None

    @property
    def cost_per_million_tokens(self) -> float | None:
        """Cost over tokens generated."""
        if self.cost is None or not self.generation_tokens:
            return None
        return self.cost / self.generation_tokens * 1e6

    def plain(self) -> dict[str, object]:
        """As JSON, lines included."""
        return asdict(self) | {
            "availability": self.availability,
            "cost_per_million_tokens": self.cost_per_million_tokens,
        }


def collect(prometheus: Prometheus, period: Period, namespace: str | None) -> list[EndpointReport]:
    """Reports of every endpoint that was there in the period. Raises InputError."""
    asked = _Questions(prometheus, period, "" if namespace is None else f'namespace="{namespace}"')
    requests = asked.by("outcome", asked.increase("gemma_requests_total", "outcome"))
    plans = asked.plans()
    objectives = asked.by("objective", asked.latest("gemma_deployment_objective", "objective"))
    scalars = {name: asked.scalar(expr) for name, expr in asked.scalars().items()}
    latencies = {
        metric: {quantile: asked.scalar(asked.quantile(metric, quantile)) for quantile in QUANTILES}
        for metric in ("gemma_time_to_first_token_seconds", "gemma_time_per_output_token_seconds")
    }
    lines = {plot: [asked.lines(expr) for expr in exprs] for plot, exprs in asked.plots().items()}
    endpoints = sorted({*requests, *plans, *(endpoint for found in scalars.values() for endpoint in found)})

    def latency(metric: str, endpoint: Endpoint) -> dict[float, float]:
        return {q: found[endpoint] for q, found in latencies[metric].items() if endpoint in found}

    return [
        EndpointReport(
            *endpoint,
            plan=plans.get(endpoint, {}),
            objectives=objectives.get(endpoint, {}),
            requests=requests.get(endpoint, {}),
            turned_away=scalars["turned_away"].get(endpoint, 0.0),
            ttft_seconds=latency("gemma_time_to_first_token_seconds", endpoint),
            tpot_seconds=latency("gemma_time_per_output_token_seconds", endpoint),
            prompt_tokens=scalars["prompt_tokens"].get(endpoint, 0.0),
            generation_tokens=scalars["generation_tokens"].get(endpoint, 0.0),
            mean_ready_replicas=scalars["mean_ready_replicas"].get(endpoint),
            peak_waiting=scalars["peak_waiting"].get(endpoint),
            peak_kv_cache_ratio=scalars["peak_kv_cache_ratio"].get(endpoint),
            cost=scalars["cost"].get(endpoint),
            lines={
                plot: [s for found in answers for s in found.get(endpoint, [])]
                for plot, answers in lines.items()
            },
        )
        for endpoint in endpoints
    ]


class _Questions:
    """PromQL over one period and namespace, and its answers by endpoint."""

    def __init__(self, prometheus: Prometheus, period: Period, chosen: str) -> None:
        self._prometheus = prometheus
        self._period = period
        self._chosen = chosen
        self._window = f"[{period.seconds:.0f}s]"

    def selector(self, metric: str, *more: str) -> str:
        matchers = ",".join(filter(None, (self._chosen, *more)))
        return f"{metric}{{{matchers}}}"

    def increase(self, metric: str, *labels: str, only: str = "") -> str:
        by = ", ".join(("namespace", "model", *labels))
        return f"sum by ({by}) (increase({self.selector(metric, only)}{self._window}))"

    def latest(self, metric: str, *labels: str) -> str:
        by = ", ".join(("namespace", "model", *labels))
        return f"max by ({by}) (last_over_time({self.selector(metric)}{self._window}))"

    def quantile(self, metric: str, quantile: float) -> str:
        return f"histogram_quantile({quantile}, {self.increase(f'{metric}_bucket', 'le')})"

    def over(self, function: str, expr: str, step: float) -> str:
        return f"{function}(({expr}){self._window[:-1]}:{step:.0f}s])"

    def scalars(self) -> dict[str, str]:
        def total(metric: str) -> str:
            return f"sum by (namespace, model) ({self.selector(metric)})"

        def most(metric: str) -> str:
            return f"max by (namespace, model) ({self.selector(metric)})"

        kv_cache = f"{total('gemma_kv_cache_used_tokens')} / ({total('gemma_kv_cache_total_tokens')} > 0)"
        cost = self.over("sum_over_time", most("gemma_deployment_hourly_cost"), COST_STEP_SECONDS)
        step = self._period.step
        return {
            "turned_away": self.increase("gemma_rejections_total", only=UNAVAILABLE),
            "prompt_tokens": self.increase("gemma_prompt_tokens_total"),
            "generation_tokens": self.increase("gemma_generation_tokens_total"),
            "mean_ready_replicas": self.over("avg_over_time", most("gemma_deployment_replicas_ready"), step),
            "peak_waiting": self.over("max_over_time", total("gemma_requests_waiting"), step),
            "peak_kv_cache_ratio": self.over("max_over_time", kv_cache, step),
            "cost": f"{cost} * {COST_STEP_SECONDS} / 3600",
        }

    def plots(self) -> dict[str, list[str]]:
        window = f"[{max(300.0, 2 * self._period.step):.0f}s]"

        def rate(metric: str, *labels: str, only: str = "") -> str:
            by = ", ".join(("namespace", "model", *labels))
            return f"sum by ({by}) (rate({self.selector(metric, only)}{window}))"

        def named(expr: str, line: str) -> str:
            return f'label_replace({expr}, "line", "{line}", "", "")'

        ttft = rate("gemma_time_to_first_token_seconds_bucket", "le")
        return {
            "Time to first token, s": [
                named(f"histogram_quantile({quantile}, {ttft})", f"p{quantile * 100:g}")
                for quantile in QUANTILES
            ],
            "Tokens per second": [
                named(rate("gemma_generation_tokens_total"), "generated"),
                named(rate("gemma_prompt_tokens_total"), "prompt"),
            ],
            "Requests per second that were not served": [
                named(rate("gemma_requests_total", only='outcome="failed"'), "failed"),
                named(rate("gemma_rejections_total", only=UNAVAILABLE), "turned away"),
            ],
            "Cost per hour": [
                named(f"max by (namespace, model) ({self.selector('gemma_deployment_hourly_cost')})", "cost")
            ],
        }

    def scalar(self, expr: str) -> dict[Endpoint, float]:
        return {endpoint_of(k): v for k, v in self._prometheus.instant(expr, self._period.end).items()}

    def by(self, label: str, expr: str) -> dict[Endpoint, dict[str, float]]:
        found: dict[Endpoint, dict[str, float]] = defaultdict(dict)
        for labels, value in self._prometheus.instant(expr, self._period.end).items():
            found[endpoint_of(labels)][dict(labels)[label]] = value
        return dict(found)

    def plans(self) -> dict[Endpoint, dict[str, str]]:
        expr = self.latest("gemma_deployment_info", "variant", "engine", "accelerator", "precision")
        found: dict[Endpoint, dict[str, str]] = {}
        for labels in self._prometheus.instant(expr, self._period.end):
            found[endpoint_of(labels)] = {k: v for k, v in labels if k not in ("namespace", "model")}
        return found

    def lines(self, expr: str) -> dict[Endpoint, list[Series]]:
        found: dict[Endpoint, list[Series]] = defaultdict(list)
        for series in self._prometheus.range(expr, self._period.start, self._period.end, self._period.step):
            found[endpoint_of(tuple(series.labels.items()))].append(series)
        return dict(found)
