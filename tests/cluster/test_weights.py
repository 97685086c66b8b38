"""Weights from a hub that refuses, breaks off or lies: what the user is told; nothing wrong is served."""

import json
from typing import Any

import pytest

from cluster.endpoint import CONTINUATION, Endpoint, spec

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


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
