"""Weights from a hub that refuses, breaks off or lies: what the user is told; nothing wrong is served."""

import json
from typing import Any

import pytest

from cluster.conftest import Installed
from cluster.endpoint import CONTINUATION, Endpoint, spec
from gemma_devcluster.installation import MIRROR_NAMESPACE

SLOW_SECONDS = 420
"""The mirror's owner `slow` sends 4 MiB/s: a minute for the file, beside a start."""
MIRROR_PORT = 8080
FILE = "gemma-3-270m-Q4_K_M.gguf"


def source(owner: str, secret: str | None = None) -> dict[str, Any]:
    """A model whose repository's owner chooses how the mirror misbehaves."""
    hugging_face: dict[str, Any] = {"repository": f"{owner}/gemma-3-270m-GGUF"}
    if secret:
        hugging_face["tokenSecretRef"] = {"name": secret, "key": "token"}
    return {
        "variant": "gemma-3-270m",
        "contextLength": 1024,
        "source": {"huggingFace": hugging_face},
    }


def with_token(endpoint: Endpoint, token: str) -> str:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hub", "namespace": endpoint.namespace},
        "stringData": {"token": token},
    }
    endpoint.cluster.apply([secret])
    return "hub"


@pytest.mark.parametrize("cache", [None, {}], ids=["per-pod", "cached"])
def test_a_gated_repository_without_a_token_says_so(endpoint: Endpoint, cache: dict[str, Any] | None) -> None:
    endpoint.apply(spec(model=source("gated"), **({} if cache is None else {"cache": cache})))
    endpoint.wait_reason("WeightsReady", "TokenRequired")
    assert "token" in endpoint.condition("WeightsReady")["message"].lower()
    assert endpoint.condition("Ready")["reason"] == "TokenRequired"


def test_a_token_whose_account_has_not_accepted_the_licence_is_told_so(endpoint: Endpoint) -> None:
    secret = with_token(endpoint, "hf_not_accepted")
    endpoint.apply(spec(model=source("gated", secret), cache={}))
    endpoint.wait_reason("WeightsReady", "AccessDenied")
    message = endpoint.condition("WeightsReady")["message"]
    assert "hf_not_accepted" not in json.dumps(endpoint.manifest()), "the token leaked into the status"
    assert "licen" in message.lower() or "accept" in message.lower()


def test_the_right_token_opens_a_gated_repository(endpoint: Endpoint) -> None:
    secret = with_token(endpoint, "hf_accepted")
    endpoint.apply(spec(model=source("gated", secret), cache={}))
    endpoint.wait("Ready")
    assert CONTINUATION in endpoint.complete()


def test_a_cut_transfer_is_resumed(endpoint: Endpoint) -> None:
    endpoint.apply(spec(model=source("cut"), cache={}))
    endpoint.wait("Ready")
    assert CONTINUATION in endpoint.complete()


def test_a_corrupt_byte_is_detected_and_never_served(endpoint: Endpoint) -> None:
    endpoint.apply(spec(model=source("corrupt"), cache={}))
    endpoint.wait_reason("WeightsReady", "Corrupt")
    assert FILE in endpoint.condition("WeightsReady")["message"]
    assert endpoint.condition("Ready")["status"] == "False"
    assert [pod for pod in endpoint.pods() if _is_ready(pod)] == []


def test_weights_in_an_image_are_mounted_by_the_kubelet_and_served(
    installed: Installed, endpoint: Endpoint
) -> None:
    mirror = installed.kubectl.get("deployment", "weights-mirror", "-n", MIRROR_NAMESPACE)
    reference = mirror["spec"]["template"]["spec"]["containers"][0]["image"]
    image = {"reference": reference, "path": f"opt/mirror/unsloth/gemma-3-270m-GGUF/{FILE}"}
    endpoint.apply(spec(model={"variant": "gemma-3-270m", "contextLength": 1024, "source": {"image": image}}))
    endpoint.wait("Ready")
    assert CONTINUATION in endpoint.complete()
    assert endpoint.condition("WeightsReady")["message"].endswith("nothing is fetched")


def test_an_image_that_cannot_be_pulled_is_told(endpoint: Endpoint) -> None:
    image = {"reference": "registry.invalid/gemma:1"}
    endpoint.apply(spec(model={"variant": "gemma-3-270m", "contextLength": 1024, "source": {"image": image}}))
    endpoint.wait_reason("PodsReady", "ImagePullFailed")
    assert "registry.invalid/gemma:1" in endpoint.condition("PodsReady")["message"]


def test_a_second_endpoint_with_the_same_cache_fetches_nothing_again(endpoint: Endpoint) -> None:
    endpoint.apply(spec(cache={}))
    endpoint.wait("Ready")
    jobs = [child for child in endpoint.children() if child.startswith("Job/")]
    body = spec(cache={})
    body["model"]["contextLength"] = 2048
    endpoint.apply(body)
    endpoint.wait_observed()
    endpoint.kubectl("rollout", "status", "deployment/tiny", "--timeout=300s")
    assert [child for child in endpoint.children() if child.startswith("Job/")] == jobs


def test_two_endpoints_with_equal_sources_fetch_once(endpoint: Endpoint) -> None:
    """As the mirror saw it: one copy of the file, though both wanted it at the same time."""
    other = Endpoint(endpoint.cluster, endpoint.namespace, "other")
    body = spec(model=source("slow"), cache={"accessMode": "ReadWriteMany"})
    before = sent_by_mirror(endpoint, "slow")
    for each in (endpoint, other):
        each.apply(body)
    for each in (endpoint, other):
        each.wait("Ready", SLOW_SECONDS)
        assert CONTINUATION in each.complete()
    status = [each.manifest()["status"]["weights"] for each in (endpoint, other)]
    assert status[0] == status[1]
    size = status[0]["bytesTotal"]
    assert size <= sent_by_mirror(endpoint, "slow") - before < 2 * size

    endpoint.kubectl("delete", "gemmadeployment", endpoint.name, "--timeout=120s")
    endpoint.kubectl("wait", f"deployment/{endpoint.name}", "--for=delete", "--timeout=120s")
    assert CONTINUATION in other.complete()
    assert {child.partition("/")[0] for child in other.children()} >= {"Job", "PersistentVolumeClaim"}
    other.kubectl("delete", "gemmadeployment", other.name, "--timeout=120s")
    other.wait_no_children()


def test_progress_of_a_fetch_is_in_the_status_while_it_goes_on(endpoint: Endpoint) -> None:
    endpoint.apply(spec(model=source("slow"), cache={}))
    endpoint.kubectl(
        "wait", "gemmadeployment/tiny", "--for=jsonpath={.status.weights.bytesDone}", "--timeout=120s"
    )
    told = endpoint.manifest()["status"]["weights"]
    assert 0 <= told["bytesDone"] <= told["bytesTotal"]
    condition = endpoint.condition("WeightsReady")
    assert condition["reason"] == "Fetching"
    assert " of " in condition["message"]
    assert "MB" in condition["message"]


def sent_by_mirror(endpoint: Endpoint, owner: str) -> int:
    """Bytes of an owner's GGUF files that the mirror has sent so far."""
    service = f"http:weights-mirror:{MIRROR_PORT}"
    path = f"/api/v1/namespaces/{MIRROR_NAMESPACE}/services/{service}/proxy/admin/requests"
    requests = json.loads(endpoint.cluster.run("get", "--raw", path))
    files = [request for request in requests if f"/{owner}/" in request["path"] and FILE in request["path"]]
    return sum(request["sent"] for request in files if request["method"] == "GET")


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
