"""What the front door counts: the scaling signal at zero, and how routing goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gemma_serving.frontdoor.fleet import Endpoint, Fleet
from gemma_serving.frontdoor.holding import Waiting

LABELS = ("endpoint_namespace", "model")
"""Not `namespace`: the scrape sets that to the front door's own."""
WAKE_BOUNDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900)
"""Seconds until a pod came."""


class Books:
    """Gauges of every endpoint, also of those at zero, and counters."""

    def __init__(self, fleet: Fleet, waiting: Waiting) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.running: Counter[Endpoint] = Counter()
        self._requests = CounterMetric(
            "gemma_front_door_requests_total",
            "Requests by status.",
            [*LABELS, "code"],
            registry=self.registry,
        )
        self._retries = CounterMetric(
            "gemma_front_door_retries_total",
            "Requests sent to another replica before the first byte.",
            LABELS,
            registry=self.registry,
        )
        self._wakes = Histogram(
            "gemma_front_door_wake_seconds",
            "How long held requests waited for a pod.",
            LABELS,
            registry=self.registry,
            buckets=WAKE_BOUNDS,
        )
        self.registry.register(_Now(fleet, waiting, self.running))

    def ended(self, endpoint: Endpoint, code: int) -> None:
        """Count one request."""
        self._requests.labels(endpoint.namespace, endpoint.name, str(code)).inc()

    def retried(self, endpoint: Endpoint) -> None:
        """Count one retry."""
        self._retries.labels(endpoint.namespace, endpoint.name).inc()

    def woke(self, endpoint: Endpoint, seconds: float) -> None:
        """A held request found its pod."""
        self._wakes.labels(endpoint.namespace, endpoint.name).observe(seconds)

    def page(self) -> bytes:
        """The page in Prometheus' text form."""
        return generate_latest(self.registry)


class _Now(Collector):
    """Gauges as they are when somebody asks; an endpoint at zero has them as well, at 0."""

    def __init__(self, fleet: Fleet, waiting: Waiting, running: Counter[Endpoint]) -> None:
        self._fleet = fleet
        self._waiting = waiting
        self._running = running

    def collect(self) -> Iterable[Metric]:
        """Waiting, running and replicas of each endpoint."""
        yield from self._families()

    def _families(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "gemma_front_door_requests_waiting", "Held until a pod comes: what wakes it.", labels=LABELS
        )
        running = GaugeMetricFamily(
            "gemma_front_door_requests_running", "Sent to a pod and not over.", labels=LABELS
        )
        replicas = GaugeMetricFamily(
            "gemma_front_door_replicas", "Pods that requests may go to.", labels=LABELS
        )
        for endpoint, state in self._fleet.endpoints.items():
            labels = (endpoint.namespace, endpoint.name)
            waiting.add_metric(labels, self._waiting.count(endpoint))
            running.add_metric(labels, self._running[endpoint])
            replicas.add_metric(labels, len(state.addresses))
        yield from (waiting, running, replicas)
