"""What the operator counts of itself, for Prometheus."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gemma_operator import __version__
from gemma_operator.controller.endpoints import EndpointMetrics
from gemma_operator.kube.apiserver import APPLY_PATCH, Request

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds include the objective that a change reaches its children within 1 s."""


class Metrics:
    """All metrics in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.endpoints = EndpointMetrics(self.registry)
        info = Gauge("gemma_operator_info", "1 for the running version.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)
        self.reconcile_seconds = Histogram(
            "gemma_operator_reconcile_seconds",
            "Duration of one reconcile.",
            ["outcome"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.queue_seconds = Histogram(
            "gemma_operator_queue_seconds",
            "How long a GemmaDeployment was ready before a worker took it.",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._requests = Counter(
            "gemma_operator_api_requests",
            "Requests to the Kubernetes API. Code 0: no answer.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._depth = Gauge(
            "gemma_operator_queue_depth",
            "GemmaDeployments that are ready and have no worker.",
            registry=self.registry,
        )
        self._oldest = Gauge(
            "gemma_operator_queue_oldest_seconds",
            "How long the longest waiting of them has been ready.",
            registry=self.registry,
        )

    def observe_request(self, request: Request, code: int) -> None:
        """Count a request by its resource, not by its object."""
        self._requests.labels(verb_of(request), resource_of(request.path), str(code)).inc()

    def follow_queue(self, depth: Callable[[], int], oldest_seconds: Callable[[], float]) -> None:
        """Read the queue's depth and the age of its oldest when asked for them."""
        self._depth.set_function(depth)
        self._oldest.set_function(oldest_seconds)

    def page(self) -> bytes:
        """Everything, in Prometheus' text form."""
        return bytes(generate_latest(self.registry)) + self.endpoints.page(time.time())

    def follow_watches(self, ages: Callable[[], Mapping[str, float]]) -> None:
        """Read the age of each watch, by plural, when asked for it."""
        self.registry.register(_WatchAges(ages))


class _WatchAges(Collector):
    def __init__(self, ages: Callable[[], Mapping[str, float]]) -> None:
        self._ages = ages

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "gemma_operator_watch_age_seconds",
            "Time since anything, bookmarks included, was heard on the oldest watch of a resource.",
            labels=["resource"],
        )
        for plural, age in self._ages().items():
            family.add_metric([plural], age)
        return [family]


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def verb_of(request: Request) -> str:
    """What the API server's own metrics call the request: `list`, `watch`, `apply`, ... in lower case."""
    is_one = len(_below_namespace(request.path)) != 1
    if request.method == "GET":
        if (request.query or {}).get("watch") == "true":
            return "watch"
        return "get" if is_one else "list"
    if request.method == "DELETE":
        return "delete" if is_one else "deletecollection"
    if request.content_type == APPLY_PATCH:
        return "apply"
    return _VERBS.get(request.method, request.method.lower())


def resource_of(path: str) -> str:
    """The plural, with its subresource, in a path of the API: `gemmadeployments/status`."""
    parts = _below_namespace(path)
    return "/".join([parts[0], *parts[2:3]]) if parts else "discovery"


def _below_namespace(path: str) -> list[str]:
    """Plural, name and subresource, as far as a path of the API has them."""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    return parts
