"""Load on an endpoint, and a cluster whose replicas follow it: what the tests of each autoscaler share.

`make test-autoscaling`, not part of `make test`: what it installs takes over 10 min to build the first time.

Windows are shorter than their defaults, so that what takes a quarter of an hour is over in minutes.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.conftest import Installed, until
from cluster.endpoint import PROMPT, Endpoint, spec
from cluster.namespaces import guarded_namespace
from gemma_devcluster import autoscaling, builder, images, installation
from gemma_devcluster.builder import Binaries
from gemma_devcluster.images import Image
from gemma_operator.cli.prometheus import Prometheus

STREAMS, SLOTS, MOST = 24, 4, 3
TOKENS = 16
IDLE_SECONDS = 20
DECISION_SECONDS = 90
"""A scrape (5 s), KEDA's or the HPA's next look (15 s), and a busy machine."""
READY_SECONDS = 420
"""Three pods load at once, beside a full one: 148 s were measured, 290 s with all cores taken by others."""
FEWER_SECONDS = 180
"""The window, then a replica per period, each at the HPA's next look."""
FAULT_SECONDS = 60
"""Within which a fault has to be told."""
ANSWER_SECONDS = 600
NAMESPACE = "autoscaling"
VALUES = (
    f"settings.scaling.prometheusUrl={autoscaling.PROMETHEUS_URL}",
    "settings.scaling.upWindowSeconds=0",
    "settings.scaling.downWindowSeconds=20",
    "settings.scaling.downPeriodSeconds=15",
    "frontDoor.enabled=true",
    "frontDoor.resources.requests.cpu=50m",
)


@dataclass(frozen=True)
class Answer:
    """A whole stream, in seconds of one clock."""

    first_token: float
    ended: float


def ask(url: str, model: str) -> Answer:
    """One streamed completion over a connection of its own; raises on anything but all of it."""
    body = {"model": model, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    first, finish, done = 0.0, None, False
    with (
        httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as client,
        client.stream("POST", f"{url}/v1/completions", json=body) as answer,
    ):
        assert answer.status_code == httpx.codes.OK, answer.read().decode()
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                done = True
            elif line.startswith("data: "):
                chunk = json.loads(line.removeprefix("data: "))
                assert "error" not in chunk, chunk
                for choice in chunk["choices"]:
                    first = first or time.monotonic()
                    finish = choice["finish_reason"] or finish
    assert done
    assert finish in {"length", "stop"}
    return Answer(first, time.monotonic())


@dataclass
class Load:
    """Callers that ask anew as soon as they are answered."""

    url: str
    model: str
    began: float = field(default_factory=time.monotonic)
    over: Event = field(default_factory=Event)
    callers: list[Future[list[Answer]]] = field(default_factory=list)

    def call(self) -> list[Answer]:
        answers = []
        while not self.over.is_set():
            answers.append(ask(self.url, self.model))
        return answers

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def stop(self) -> list[Answer]:
        """All answers; raises what any caller met."""
        self.over.set()
        return [answer for caller in self.callers for answer in caller.result()]


@contextmanager
def loaded(url: str, model: str) -> Iterator[Load]:
    load = Load(url, model)
    with ThreadPoolExecutor(STREAMS) as pool:
        load.callers += [pool.submit(load.call) for _ in range(STREAMS)]
        try:
            yield load
        finally:
            load.over.set()


@dataclass(frozen=True)
class Scaled:
    """The cluster with KEDA, the metrics APIs, Prometheus and the front door."""

    installed: Installed
    binaries: Binaries
    built: Mapping[str, Image]

    def configure(self, values: Sequence[str] = ()) -> None:
        """Give the operator other settings."""
        installation.install_operator(self.installed.kubectl, self.installed.helm, self.built, values)

    def service(self, namespace: str, name: str, port: int) -> str:
        service = self.installed.kubectl.get("service", name, "-n", namespace)
        return f"http://{service['spec']['clusterIP']}:{port}"

    def front_door(self) -> str:
        return self.service(installation.OPERATOR_NAMESPACE, f"{installation.RELEASE}-front-door", 80)

    def waiting(self, endpoint: Endpoint, over: str = "") -> float:
        """Requests that wait at its pods, as Prometheus has them; `over` a range, the most."""
        labels = f'namespace="{endpoint.namespace}",model="{endpoint.name}"'
        query = f"sum(gemma_requests_waiting{{{labels}}})"
        url = self.service(autoscaling.PROMETHEUS_NAMESPACE, "prometheus", 9090)
        found = Prometheus(url).instant(f"max_over_time({query}[{over}:1s])" if over else query)
        return max(found.values(), default=0.0)

    def stop(self, namespace: str, deployment: str) -> None:
        self.installed.kubectl.run("-n", namespace, "scale", f"deployment/{deployment}", "--replicas=0")


@pytest.fixture(scope="session")
def scaled(installed: Installed) -> Iterator[Scaled]:
    autoscaling.install(installed.cluster)
    scaled = Scaled(installed, builder.ensure(autoscaling.TOOL_SETS), images.build())
    try:
        scaled.configure(VALUES)
        yield scaled
    finally:
        scaled.configure()


@pytest.fixture(scope="session")
def awake(scaled: Scaled) -> Iterator[Endpoint]:
    """An endpoint that always has a pod, and KEDA as its autoscaler."""
    kubectl = scaled.installed.kubectl
    with guarded_namespace(kubectl, NAMESPACE):
        endpoint = Endpoint(kubectl, NAMESPACE, "awake")
        try:
            endpoint.apply(body(1))
            endpoint.wait("Ready")
            yield endpoint
        finally:
            # Waited for: what KEDA scales has to go while KEDA is there to let go of it.
            kubectl.run("-n", NAMESPACE, "delete", "gemmadeployments", "--all")


@dataclass
class Faults:
    """Tells of faults, and how long it took until `ScalingActive` of an endpoint did."""

    endpoint: Endpoint
    told: dict[str, float] = field(default_factory=dict)

    def await_told(self, fault: str, reason: str, words: str, began: float) -> None:
        """Until it is told; meanwhile the endpoint serves, with the replicas that it had."""

        def is_told() -> bool:
            condition = self.endpoint.condition("ScalingActive")
            return condition["reason"] == reason and words in condition["message"]

        until(is_told, f"{reason} ({words}) for: {fault}")
        self.told[fault] = time.monotonic() - began
        assert ask(self.endpoint.url(), self.endpoint.name)
        assert replicas(self.endpoint) == (MOST, MOST)

    def report(self) -> None:
        print("; ".join(f"{fault}: told after {seconds:.1f} s" for fault, seconds in self.told.items()))
        assert max(self.told.values()) <= FAULT_SECONDS


def body(least: int, backend: str = "Auto") -> dict[str, Any]:
    """Four slots, a queue that holds the whole burst, and few enough millicores for three pods."""
    return spec(
        hardware={"cpu": "200m"},
        capacity={
            "maxConcurrentRequests": SLOTS,
            "maxQueuedRequests": STREAMS,
            "requestTimeoutSeconds": ANSWER_SECONDS,
        },
        scaling={
            "minReplicas": least,
            "maxReplicas": MOST,
            "idleSeconds": IDLE_SECONDS,
            "backend": backend,
        },
    )


def await_deployment(endpoint: Endpoint, path: str, value: int, seconds: int) -> None:
    """Until a field of its Deployment has the value."""
    wanted = f"--for=jsonpath={{{path}}}={value}"
    endpoint.kubectl("wait", f"deployment/{endpoint.name}", wanted, f"--timeout={seconds}s")


def replicas(endpoint: Endpoint) -> tuple[int, int]:
    """Wanted, and ready."""
    found = endpoint.cluster.get("deployment", endpoint.name, "-n", endpoint.namespace)
    return found["spec"]["replicas"], found["status"].get("readyReplicas", 0)


def has_spoken(pod: dict[str, Any]) -> bool:
    """Whether a caller has got a token from it."""
    page = httpx.get(f"http://{pod['status']['podIP']}:9090/metrics", trust_env=False).text
    samples = [s for family in text_string_to_metric_families(page) for s in family.samples]
    return any(s.name == "gemma_time_to_first_token_seconds_count" and s.value > 0 for s in samples)


def await_all_speaking(endpoint: Endpoint) -> None:
    until(lambda: all(has_spoken(pod) for pod in endpoint.pods()), "a token from every pod")
