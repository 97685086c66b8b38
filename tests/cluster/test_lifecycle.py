"""From apply to answer, through edits, losses and deletion: real kubelet, Pod Security `restricted`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from cluster.conftest import Installed
from cluster.endpoint import CHANGE_SECONDS, CONTINUATION, Endpoint, spec

DELETE_TIMEOUT = "180s"
FIRST_ANSWERS = 3
"""Answered before a change is made, so that the stream is known to flow."""


@contextmanager
def steady_stream(endpoint: Endpoint, clients: int = 2) -> Iterator[list[str]]:
    """Clients that ask one after another, each over a new connection, until the block ends.

    Yields the list of failures, complete once the block has ended.
    """
    stop, flowing = threading.Event(), threading.Semaphore(0)
    failures: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                endpoint.complete(max_tokens=8)
            except (AssertionError, httpx.HTTPError) as error:
                failures.append(repr(error))
            flowing.release()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(FIRST_ANSWERS):
            flowing.acquire()
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_apply_becomes_ready_and_streams_an_answer(endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")

    texts = list(endpoint.stream())
    assert CONTINUATION in "".join(texts)
    assert len(texts) > 1, "the answer came in one piece: it was not streamed"

    status = endpoint.manifest()["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Planned": "True",
        "WeightsReady": "True",
        "PodsReady": "True",
        "Ready": "True",
        "UpToDate": "True",
    }
    assert status["ready"] == "1/1"
    assert status["plan"]["engine"] == "LlamaCpp"
    assert status["plan"]["accelerator"] == "cpu"


def test_two_replicas_share_the_work(endpoint: Endpoint) -> None:
    endpoint.apply(spec(replicas=2))
    endpoint.wait("Ready")
    assert endpoint.manifest()["status"]["ready"] == "2/2"
    assert "PodDisruptionBudget/tiny" in endpoint.children()

    for _ in range(12):
        assert endpoint.complete(max_tokens=2)
    assert all(endpoint.served(pod) > 0 for pod in endpoint.pods())


def test_an_edit_of_the_context_length_rolls_without_a_failed_request(endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    before = endpoint.pod_names()

    with steady_stream(endpoint) as failures:
        body = spec()
        body["model"]["contextLength"] = 2048
        endpoint.apply(body)
        endpoint.wait_observed()
        endpoint.kubectl("rollout", "status", "deployment/tiny", "--timeout=300s")
        endpoint.wait_gone(before)

    assert failures == []
    assert endpoint.manifest()["status"]["plan"]["contextLength"] == 2048
    assert before.isdisjoint(endpoint.pod_names())


def test_an_edit_that_cannot_fit_leaves_the_running_pods(endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    before = [pod["metadata"]["uid"] for pod in endpoint.pods()]
    deployment = endpoint.cluster.get("deployment", "tiny", "-n", endpoint.namespace)["metadata"][
        "generation"
    ]

    body = spec()
    body["hardware"] = {"cpu": "500m", "memory": "300Mi"}
    endpoint.apply(body)
    endpoint.wait("Planned=False", CHANGE_SECONDS)

    planned = endpoint.condition("Planned")
    assert planned["reason"] == "DoesNotFit"
    assert "GiB" in planned["message"] or "MiB" in planned["message"]
    assert "300" in planned["message"] or "0.29" in planned["message"], planned["message"]
    assert [pod["metadata"]["uid"] for pod in endpoint.pods()] == before
    after = endpoint.cluster.get("deployment", "tiny", "-n", endpoint.namespace)["metadata"]["generation"]
    assert after == deployment
    assert CONTINUATION in endpoint.complete()

    endpoint.apply(spec())
    endpoint.wait("Ready", CHANGE_SECONDS)
    assert [pod["metadata"]["uid"] for pod in endpoint.pods()] == before


def test_an_unknown_variant_names_the_nearest(endpoint: Endpoint) -> None:
    endpoint.apply(spec(model={"variant": "gemma-3-8b-it"}))
    endpoint.wait("Planned=False", CHANGE_SECONDS)
    planned = endpoint.condition("Planned")
    assert planned["reason"] == "UnknownVariant"
    assert "4b" in planned["message"]
    assert "12b" in planned["message"]
    assert endpoint.children() == []


def test_a_deleted_pod_comes_back(endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    [victim] = endpoint.pod_names()
    endpoint.kubectl("delete", "pod", victim, "--grace-period=1")
    endpoint.wait_gone({victim})
    endpoint.wait("Ready")
    assert CONTINUATION in endpoint.complete()


def test_a_killed_triton_process_is_replaced_inside_its_pod(installed: Installed, endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    [pod] = endpoint.pod_names()
    assert endpoint.restarts(pod, "triton") == 0
    installed.kill_container(endpoint.namespace, pod, "triton")
    endpoint.kubectl(
        "wait",
        f"pod/{pod}",
        '--for=jsonpath={.status.containerStatuses[?(@.name=="triton")].restartCount}=1',
        "--timeout=180s",
    )
    endpoint.kubectl("wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=240s")
    endpoint.wait("Ready")
    assert CONTINUATION in endpoint.complete()


def test_deletion_removes_every_child(endpoint: Endpoint) -> None:
    endpoint.apply(spec(replicas=2, cache={"accessMode": "ReadWriteMany"}))
    endpoint.wait("Ready")
    kinds = {child.partition("/")[0] for child in endpoint.children()}
    assert kinds >= {
        "Deployment",
        "Service",
        "ConfigMap",
        "ServiceAccount",
        "NetworkPolicy",
        "PodDisruptionBudget",
    }
    assert kinds >= {"Job", "PersistentVolumeClaim"}

    endpoint.kubectl("delete", "gemmadeployment", "tiny", f"--timeout={DELETE_TIMEOUT}")
    endpoint.wait_no_children()


def test_deletion_works_while_the_operator_is_down(installed: Installed, endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    installed.scale_operator(0)
    try:
        endpoint.kubectl("delete", "gemmadeployment", "tiny", f"--timeout={DELETE_TIMEOUT}")
        endpoint.wait_no_children()
    finally:
        installed.scale_operator(1)


def test_suspend_stops_the_pods_and_keeps_the_rest(endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    pods = endpoint.pod_names()
    endpoint.apply(spec(suspend=True))
    endpoint.wait_reason("PodsReady", "Suspended")
    endpoint.wait_gone(pods)
    assert endpoint.pods() == []
    assert "Service/tiny" in endpoint.children()
