"""Replicas that follow real load, through a real KEDA and Prometheus, and each fault of the way between them.

`make test-autoscaling`, not part of `make test`: KEDA alone takes some 10 min to build the first time.
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
from gemma_devcluster.toolsets import KEDA, PROMETHEUS
from gemma_operator.cli.prometheus import Prometheus

pytestmark = pytest.mark.autoscaling

STREAMS, SLOTS, MOST = 24, 4, 3
TOKENS = 16
IDLE_SECONDS = 20
DECISION_SECONDS = 90
"""A scrape (5 s), KEDA's or the HPA's next look (15 s), and a busy machine."""
READY_SECONDS = 240
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
DROP_NAMESPACE = {"action": "labeldrop", "regex": "namespace"}


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
    """The cluster with KEDA, Prometheus and the front door."""

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

    def remove_keda(self) -> None:
        """As its users do: what it scales first, while it is there to let go of it."""
        kubectl = self.installed.kubectl
        kubectl.run("delete", "crd", "scaledobjects.keda.sh", "--timeout=90s")
        kubectl.run("delete", "apiservice", "v1beta1.external.metrics.k8s.io")
        kubectl.run("delete", "namespace", autoscaling.KEDA_NAMESPACE, "--timeout=90s")


@pytest.fixture(scope="module")
def scaled(installed: Installed) -> Iterator[Scaled]:
    autoscaling.install(installed.cluster)
    scaled = Scaled(installed, builder.ensure((KEDA, PROMETHEUS)), images.build())
    try:
        scaled.configure(VALUES)
        yield scaled
    finally:
        scaled.configure()


def body(least: int) -> dict[str, Any]:
    """Four slots, a queue that holds the whole burst, and few enough millicores for three pods."""
    return spec(
        hardware={"cpu": "200m"},
        capacity={
            "maxConcurrentRequests": SLOTS,
            "maxQueuedRequests": STREAMS,
            "requestTimeoutSeconds": ANSWER_SECONDS,
        },
        scaling={"minReplicas": least, "maxReplicas": MOST, "idleSeconds": IDLE_SECONDS},
    )


@pytest.fixture(scope="module")
def awake(scaled: Scaled) -> Iterator[Endpoint]:
    """An endpoint that always has a pod."""
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


def test_a_burst_brings_replicas_and_its_end_takes_them_away(scaled: Scaled, awake: Endpoint) -> None:
    with loaded(awake.url(), awake.name) as load:
        await_deployment(awake, ".spec.replicas", MOST, DECISION_SECONDS)
        decided = load.seconds()
        await_deployment(awake, ".status.readyReplicas", MOST, READY_SECONDS)
        ready = load.seconds()
        await_all_speaking(awake)
        speaking = load.seconds()
        awake.wait_reason("ScalingActive", "AtMaximum")
        # Connections are dealt out at random, so that a pod may have fewer streams than slots.
        most = STREAMS - (MOST - 1) * SLOTS
        until(lambda: scaled.waiting(awake) <= most, f"at most {most} of {STREAMS} streams to wait")
        peak = scaled.waiting(awake, over="5m")
        answers = load.stop()
    stopped = time.monotonic()
    await_deployment(awake, ".spec.replicas", 1, FEWER_SECONDS)
    print(
        f"burst of {STREAMS} streams at 1 replica: {MOST} wanted after {decided:.1f} s,"
        f" ready after {ready:.1f} s, all answering after {speaking:.1f} s;"
        f" waiting fell from {peak:.0f} to at most {most};"
        f" 1 wanted {time.monotonic() - stopped:.1f} s after the end; {len(answers)} answers, all whole"
    )
    assert peak == STREAMS - SLOTS
    assert len(answers) >= STREAMS
    awake.wait_reason("ScalingActive", "Active")


def test_a_burst_at_zero_is_answered_and_zero_comes_back(scaled: Scaled, namespace: str) -> None:
    endpoint = Endpoint(scaled.installed.kubectl, namespace, "asleep")
    endpoint.apply(body(0))
    await_deployment(endpoint, ".spec.replicas", 0, READY_SECONDS)
    endpoint.wait_reason("ScalingActive", "Active")
    with loaded(scaled.front_door(), f"{namespace}/{endpoint.name}") as load:
        await_deployment(endpoint, ".spec.replicas", 1, DECISION_SECONDS)
        decided = load.seconds()
        await_deployment(endpoint, ".status.readyReplicas", 1, READY_SECONDS)
        ready = load.seconds()
        await_deployment(endpoint, ".status.readyReplicas", MOST, READY_SECONDS)
        grown = load.seconds()
        await_all_speaking(endpoint)
        answers = load.stop()
    ended = max(answer.ended for answer in answers)
    await_deployment(endpoint, ".spec.replicas", 0, FEWER_SECONDS)
    first = min(answer.first_token for answer in answers) - load.began
    print(
        f"burst of {STREAMS} streams at 0 replicas: 1 wanted after {decided:.1f} s,"
        f" ready after {ready:.1f} s, first token after {first:.1f} s, {MOST} ready after {grown:.1f} s;"
        f" 0 wanted {time.monotonic() - ended:.1f} s after the last answer; {len(answers)} answers, all whole"
    )
    assert len(answers) >= STREAMS
    endpoint.wait_reason("ScalingActive", "Active")


def test_the_front_door_s_own_counts_are_enough_to_wake_and_to_sleep(scaled: Scaled, namespace: str) -> None:
    scaled.configure([value for value in VALUES if "prometheusUrl" not in value])
    try:
        endpoint = Endpoint(scaled.installed.kubectl, namespace, "asleep")
        endpoint.apply(body(0))
        await_deployment(endpoint, ".spec.replicas", 0, READY_SECONDS)
        endpoint.wait_reason("ScalingActive", "Active")
        assert "reads the front door" in endpoint.condition("ScalingActive")["message"]
        began = time.monotonic()
        answer = ask(scaled.front_door(), f"{namespace}/{endpoint.name}")
        await_deployment(endpoint, ".spec.replicas", 0, FEWER_SECONDS)
        print(
            f"one request at 0 replicas, without Prometheus: first token after"
            f" {answer.first_token - began:.1f} s; 0 wanted {time.monotonic() - answer.ended:.1f} s later"
        )
    finally:
        scaled.configure(VALUES)


def test_each_fault_is_told_while_serving_goes_on_and_replicas_hold(scaled: Scaled, awake: Endpoint) -> None:
    cluster = scaled.installed.cluster
    told: dict[str, float] = {}

    def tells(fault: str, reason: str, words: str, began: float) -> None:
        def is_told() -> bool:
            condition = awake.condition("ScalingActive")
            return condition["reason"] == reason and words in condition["message"]

        until(is_told, f"{reason} ({words}) for: {fault}")
        told[fault] = time.monotonic() - began
        assert ask(awake.url(), awake.name)
        assert replicas(awake) == (MOST, MOST)

    with loaded(awake.url(), awake.name) as load:
        await_deployment(awake, ".status.readyReplicas", MOST, READY_SECONDS)
        awake.wait_reason("ScalingActive", "AtMaximum")
        began = time.monotonic()
        scaled.stop(autoscaling.PROMETHEUS_NAMESPACE, "prometheus")
        tells("Prometheus down", "MetricMissing", "does not answer", began)
        load.stop()
    # From here on nobody asks for more than one replica; whatever holds three is what a fault leaves.
    fallback = "--for=condition=Fallback"
    awake.kubectl("wait", f"scaledobject/{awake.name}", fallback, f"--timeout={READY_SECONDS}s")

    began = time.monotonic()
    autoscaling.install_prometheus(cluster, scaled.binaries, (DROP_NAMESPACE,))
    tells("namespace label dropped", "LabelMismatch", "other labels", began)

    scaled.stop(autoscaling.KEDA_NAMESPACE, autoscaling.KEDA_ADAPTER)
    autoscaling.install_prometheus(cluster, scaled.binaries)
    began = time.monotonic()
    tells("KEDA's adapter gone", "AdapterMissing", "HorizontalPodAutoscaler", began)

    began = time.monotonic()
    scaled.remove_keda()
    tells("KEDA removed", "AdapterMissing", "KEDA is not installed", began)

    autoscaling.install(cluster)
    awake.wait_reason("ScalingActive", "Active")
    await_deployment(awake, ".spec.replicas", 1, FEWER_SECONDS)
    print("; ".join(f"{fault}: told after {seconds:.1f} s" for fault, seconds in told.items()))
    assert max(told.values()) <= FAULT_SECONDS
