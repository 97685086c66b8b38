"""The pod's metrics: names and meaning are the contract with dashboards, alerts and scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gemma_serving.contract import EngineStats, RuntimeConfig

TTFT_BOUNDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5),
    *(7.5, 10, 15, 20, 30, 45, 60, 120, 300, 600),
)
"""Seconds. Dense where objectives are set, up to the longest default request time."""
TPOT_BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.015,
    0.02,
    0.025,
    0.03,
    0.04,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    1,
    2,
)
"""Seconds per token: 0.5 to 1,000 tokens per second of one stream."""
DURATION_BOUNDS = (
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2,
    3,
    5,
    7.5,
    10,
    15,
    20,
    30,
    45,
    60,
    90,
    120,
    180,
    300,
    600,
    1200,
    3600,
)
QUEUE_BOUNDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600)


class Metrics:
    """One pod's gauges, counters and histograms, all with the label `model`."""

    def __init__(self, config: RuntimeConfig) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.model = config.model
        model = {"model": config.model}

        def histogram(name: str, text: str, bounds: Iterable[float]) -> Histogram:
            made = Histogram(name, text, ["model"], buckets=tuple(bounds), registry=self.registry)
            return made.labels(**model)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, ["model"], registry=self.registry).labels(**model)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["model"], registry=self.registry).labels(**model)

        self.waiting = gauge("gemma_requests_waiting", "Sequences in the queue: what scaling follows.")
        self.running = gauge("gemma_requests_running", "Sequences that hold a slot.")
        self.limit = gauge("gemma_concurrency_limit", "Slots: sequences generated at once.")
        self.limit.set(config.max_concurrent_requests)
        self.limit_store_up = gauge("gemma_limit_store_up", "0 while the store of limits does not answer.")
        self.draining = gauge("gemma_draining", "1 while this replica is shutting down.")
        self.ttft = histogram("gemma_time_to_first_token_seconds", "Arrival to first token.", TTFT_BOUNDS)
        self.tpot = histogram(
            "gemma_time_per_output_token_seconds", "Between tokens after the first.", TPOT_BOUNDS
        )
        self.duration = histogram("gemma_request_duration_seconds", "Arrival to end.", DURATION_BOUNDS)
        self.queue = histogram("gemma_queue_seconds", "Waiting for a slot.", QUEUE_BOUNDS)
        self.prompt_tokens = counter("gemma_prompt_tokens_total", "Tokens of prompts.")
        self.generation_tokens = counter("gemma_generation_tokens_total", "Tokens generated.")
        self.cached_tokens = counter(
            "gemma_cached_prompt_tokens_total", "Prompt tokens found in the prefix cache."
        )
        self._requests = Counter(
            "gemma_requests_total", "Requests by outcome.", ["model", "outcome"], registry=self.registry
        )
        self._rejections = Counter(
            "gemma_rejections_total",
            "Requests refused, by reason.",
            ["model", "reason"],
            registry=self.registry,
        )
        self._safety = Counter(
            "gemma_safety_decisions_total",
            "Decisions of the safety filters.",
            ["model", "stage", "policy", "decision"],
            registry=self.registry,
        )
        info = Gauge(
            "gemma_engine_info",
            "The engine.",
            ["model", "engine", "version", "precision"],
            registry=self.registry,
        )
        info.labels(config.model, config.engine, config.engine_version, config.precision).set(1)
        self.engine = EngineCollector(config.model)
        self.registry.register(self.engine)
        self.aliases = PickerAliases(config.model, self.engine)
        if config.endpoint_picker_aliases:
            self.registry.register(self.aliases)
        self._begin_counting()

    def _begin_counting(self) -> None:
        """Counters at 0: a rate cannot see the first of a series that appears with it."""
        for outcome in ("success", "cancelled", "rejected", "invalid", "failed"):
            self._requests.labels(self.model, outcome)
        for reason in ("queue_full", "evicted", "deadline"):
            self._rejections.labels(self.model, reason)

    def request_ended(self, outcome: str) -> None:
        """Count one HTTP request: success, cancelled, rejected, invalid or failed."""
        self._requests.labels(self.model, outcome).inc()

    def rejected(self, reason: str) -> None:
        """Count one refusal."""
        self._rejections.labels(self.model, reason).inc()

    def safety_decision(self, stage: str, policy: str, decision: str) -> None:
        """Count one decision of a safety filter."""
        self._safety.labels(self.model, stage, policy, decision).inc()

    def render(self) -> bytes:
        """The page in Prometheus' text form."""
        return generate_latest(self.registry)


class PickerAliases(Collector):
    """Three gauges under the names that Gateway API endpoint pickers look for."""

    def __init__(self, model: str, engine: EngineCollector) -> None:
        self._model = model
        self._engine = engine
        self.waiting: Callable[[], float] = lambda: 0.0
        self.running: Callable[[], float] = lambda: 0.0

    def collect(self) -> Iterable[Metric]:
        """The gauges, as they are now."""
        stats = self._engine.stats
        values = {
            "vllm:num_requests_waiting": self.waiting(),
            "vllm:num_requests_running": self.running(),
        }
        if stats is not None and stats.kv_total_tokens:
            values["vllm:kv_cache_usage_perc"] = stats.kv_used_tokens / stats.kv_total_tokens
        for name, value in values.items():
            family = GaugeMetricFamily(name, "Alias for endpoint pickers.", labels=["model_name"])
            family.add_metric([self._model], value)
            yield family


class EngineCollector(Collector):
    """The engine's last statistics; absent while it has not answered, rather than a stale zero."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.stats: EngineStats | None = None

    def collect(self) -> Iterable[Metric]:
        """Gauges from the last answer."""
        stats = self.stats
        if stats is None:
            return
        yield self._gauge("gemma_kv_cache_used_tokens", "Tokens held in the KV cache.", stats.kv_used_tokens)
        yield self._gauge(
            "gemma_kv_cache_total_tokens", "Tokens that the KV cache can hold.", stats.kv_total_tokens
        )
        text = "Unix time of the engine's last step."
        yield self._gauge("gemma_engine_last_step_seconds", text, stats.last_step_unix)

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=["model"])
        family.add_metric([self._model], value)
        return family
