"""A token and keys planted in Secrets, used and misused, are found nowhere else."""

import json
import os
import re

import httpx

from cluster.conftest import Installed
from cluster.endpoint import Endpoint, spec
from cluster.scan import image_histories, in_layers, objects, places
from gemma_devcluster import installation

TOKEN = "hf_accepted"
"""The one that the mirror accepts."""
REJECTED_TOKEN = "hf_planted_and_rejected_5f1c"
KEY = "planted-key-31c9d7e2"
WRONG_KEY = "planted-wrong-key-77aa"
PLANTED = (TOKEN, REJECTED_TOKEN, KEY, WRONG_KEY)
SHAPES_OF_TOKENS = {
    "Hugging Face's token": rb"hf_[A-Za-z]{34}",
    "GitHub's token": rb"gh[pousr]_[A-Za-z0-9]{36}",
    "GitLab's token": rb"glpat-[\w-]{20}",
    "Google's access token": rb"ya29\.[\w-]{30}",
}
"""Each begins with a literal, by which a gigabyte is searched in a second."""
SHORTEST_SECRET = 8
CREDENTIAL = re.compile(r"(TOKEN|PASSWORD|SECRET|API_KEY)=", re.IGNORECASE)


def secret(endpoint: Endpoint, name: str, key: str, value: str) -> None:
    endpoint.cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": endpoint.namespace},
                "stringData": {key: value},
            }
        ]
    )


def gated(token_secret: str) -> dict[str, object]:
    source = {
        "repository": "gated/gemma-3-270m-GGUF",
        "tokenSecretRef": {"name": token_secret, "key": "token"},
    }
    return {"variant": "gemma-3-270m", "contextLength": 1024, "source": {"huggingFace": source}}


def ask(endpoint: Endpoint, key: str) -> int:
    body = {"model": endpoint.name, "prompt": "Once", "max_tokens": 2}
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{endpoint.url()}/v1/completions"
    return httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False).status_code


def test_planted_secrets_are_found_nowhere_but_in_secrets(installed: Installed, endpoint: Endpoint) -> None:
    denied = Endpoint(endpoint.cluster, endpoint.namespace, "denied")
    secret(endpoint, "hub", "token", TOKEN)
    secret(endpoint, "rejected", "token", REJECTED_TOKEN)
    secret(endpoint, "keys", "team-a", KEY)
    # First: its Job asks for a quarter of a core, and the other takes what is left of a small node.
    denied.apply(spec(model=gated("rejected"), cache={}))
    denied.wait_reason("WeightsReady", "AccessDenied")
    endpoint.apply(spec(model=gated("hub"), access={"apiKeysSecretRef": {"name": "keys"}}))
    endpoint.wait("Ready")
    assert ask(endpoint, KEY) == 200
    assert ask(endpoint, WRONG_KEY) == 401

    watched = [endpoint.namespace, installation.OPERATOR_NAMESPACE]
    scanned = dict(places(installed, watched))
    assert len(scanned) > 50, "the scan looked at too little to mean anything"
    leaks = [f"{value} in {where}" for where, text in scanned.items() for value in PLANTED if value in text]
    assert leaks == []


def test_the_scan_would_find_a_leak(installed: Installed, endpoint: Endpoint) -> None:
    leak = {"kind": "ConfigMap", "apiVersion": "v1", "data": {"oops": KEY}}
    endpoint.cluster.apply([{**leak, "metadata": {"name": "leak", "namespace": endpoint.namespace}}])
    assert [where for where, text in objects(installed) if KEY in text] == ["objects of kind ConfigMap"]


def test_no_image_carries_a_credential_in_its_environment_or_history() -> None:
    histories = dict(image_histories())
    assert len(histories) == 4
    for name, text in histories.items():
        assert json.loads(text)["history"], name
        assert CREDENTIAL.findall(text) == [], name


def test_no_layer_of_an_image_holds_a_token_of_anybody() -> None:
    """What tests plant, what looks like a token, and what the environment of the build keeps secret."""
    own = {k: v for k, v in os.environ.items() if CREDENTIAL.search(f"{k}=") and len(v) >= SHORTEST_SECRET}
    literal = {key: re.escape(value).encode() for key, value in ({v: v for v in PLANTED} | own).items()}
    wanted = {key: re.compile(shape) for key, shape in (literal | SHAPES_OF_TOKENS).items()}
    assert in_layers(wanted) == []


def test_the_scan_of_layers_would_find_a_value() -> None:
    sentence = {"our sentence": re.compile(rb"The gateway: the only door of a serving pod")}
    found = in_layers(sentence, ["gateway"])
    assert "our sentence in opt/gemma/app/gemma_serving/gateway/__init__.py of gateway" in found
