"""The door of a real pod: keys from a Secret, limits, blocked terms, and their reload in place.

One endpoint for all of them, so that they cost one start. The last two tests change what it asks for, and its
pod.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.conftest import Installed, until
from cluster.endpoint import CONTINUATION, PROMPT, Endpoint, spec
from cluster.namespaces import guarded_namespace

NAMESPACE = "door"
KEYS = "tiny-keys"
TERMS = "tiny-terms"
KEY, HASHED_KEY, NARROW_KEY, NEW_KEY = (
    f"the-{which}-key-of-this-test" for which in ("plain", "hashed", "narrow", "new")
)
NARROW_LIMIT = 2
"""Requests per minute."""
BLOCKED_TERM = "quicksilver"
ANSWER_SECONDS = 300
"""A long stream is read to its end while the pod leaves, and other tests share the two cores."""


def secret(**lines: str) -> dict[str, Any]:
    """Keys by consumer."""
    metadata = {"name": KEYS, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": lines}


def consumers() -> dict[str, str]:
    """One key as it is, one hashed, one with a limit of its own."""
    return {
        "team-a": KEY,
        "team-b": f"sha256:{hashlib.sha256(HASHED_KEY.encode()).hexdigest()}",
        "team-c": f"{NARROW_KEY} requestsPerMinute={NARROW_LIMIT}",
    }


@pytest.fixture(scope="module")
def door(installed: Installed) -> Iterator[Endpoint]:
    """A ready endpoint that asks for keys and refuses a term."""
    terms = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": TERMS, "namespace": NAMESPACE},
        "data": {"terms": f"{BLOCKED_TERM}\n"},
    }
    with guarded_namespace(installed.kubectl, NAMESPACE):
        installed.kubectl.apply([secret(**consumers()), terms])
        endpoint = Endpoint(installed.kubectl, NAMESPACE, "tiny")
        endpoint.apply(
            spec(
                capacity={"requestTimeoutSeconds": ANSWER_SECONDS},
                access={"apiKeysSecretRef": {"name": KEYS}},
                safety={"blockedTermsConfigMapRef": {"name": TERMS}},
            )
        )
        endpoint.wait("Ready")
        yield endpoint


def ask(door: Endpoint, key: str | None, prompt: str = PROMPT) -> httpx.Response:
    """One short completion."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {"model": door.name, "prompt": prompt, "max_tokens": 12, "temperature": 0}
    return httpx.post(f"{door.url()}/v1/completions", json=body, headers=headers, timeout=60, trust_env=False)


@pytest.mark.parametrize("key", [KEY, HASHED_KEY], ids=["as it is", "stored as its hash"])
def test_a_key_of_the_secret_opens(door: Endpoint, key: str) -> None:
    answer = ask(door, key)
    assert answer.status_code == httpx.codes.OK, answer.text
    assert CONTINUATION in answer.json()["choices"][0]["text"]


@pytest.mark.parametrize("key", [None, "a-guess"], ids=["no key", "a wrong key"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/usage", "/health", "/openapi.json", "/nowhere"])
def test_without_a_key_every_route_is_closed(door: Endpoint, path: str, key: str | None) -> None:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = httpx.get(f"{door.url()}{path}", headers=headers, trust_env=False)
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_key_beyond_its_limit_is_told_when_to_come_back(door: Endpoint) -> None:
    answers = [ask(door, NARROW_KEY) for _ in range(NARROW_LIMIT + 1)]
    assert [answer.status_code for answer in answers] == [httpx.codes.OK] * NARROW_LIMIT + [
        httpx.codes.TOO_MANY_REQUESTS
    ]
    refused = answers[-1]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-limit-requests"] == str(NARROW_LIMIT)
    assert ask(door, KEY).status_code == httpx.codes.OK, "another key's limit is its own"


def test_a_blocked_term_is_refused_and_a_word_that_holds_it_is_not(door: Endpoint) -> None:
    refused = ask(door, KEY, f"Where can I buy {BLOCKED_TERM.upper()}?")
    assert refused.status_code == httpx.codes.BAD_REQUEST
    assert refused.json()["error"]["code"] == "content_filtered"
    assert BLOCKED_TERM not in refused.text.lower()
    assert ask(door, KEY, f"The {BLOCKED_TERM}ed mirror").status_code == httpx.codes.OK


def test_keys_change_in_place(installed: Installed, door: Endpoint) -> None:
    """FO-27: a key is added and one is withdrawn, without a new pod or a restart."""
    [before] = door.pods()
    assert ask(door, HASHED_KEY).status_code == httpx.codes.OK
    changed = {**consumers(), "team-a": f"{KEY}\n{NEW_KEY}", "team-b": ""}
    installed.kubectl.apply([secret(**changed)])
    until(lambda: ask(door, NEW_KEY).status_code == httpx.codes.OK, "the new key to be taken up", every=2)
    assert ask(door, KEY).status_code == httpx.codes.OK, "both are valid while clients change over"
    assert ask(door, HASHED_KEY).status_code == httpx.codes.UNAUTHORIZED

    [after] = door.pods()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    name = after["metadata"]["name"]
    assert [door.restarts(name, container) for container in ("gateway", "triton")] == [0, 0]


def verify(installed: Installed, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as its user starts it: the client reads KUBECONFIG when it is imported."""
    command = [sys.executable, "-m", "gemma_operator", "verify-gpu", *arguments, "--namespace", NAMESPACE]
    environment = {**os.environ, "KUBECONFIG": str(installed.cluster.kubeconfig())}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def followed(installed: Installed, pod: str, path: Path) -> Iterator[None]:
    """What a pod's gateway logs meanwhile goes to `path`, also when the pod is gone afterwards."""
    kubectl = installed.kubectl
    command = [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}", "-n", NAMESPACE]
    with path.open("w") as file:
        logs = subprocess.Popen([*command, "logs", "--follow", "--tail=0", pod, "-c", "gateway"], stdout=file)
        try:
            yield
        finally:
            logs.terminate()
            logs.wait()


def test_one_command_verifies_the_running_endpoint_and_its_drain(
    installed: Installed, door: Endpoint, tmp_path: Path
) -> None:
    """The real API server between: cache, start and every promise of the pod, one that is on its way out too.

    Not judged here is how long it takes: other tests share the two cores.
    """
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    [pod] = door.pods()
    log = tmp_path / "gateway.log"
    with followed(installed, pod["metadata"]["name"], log):
        printed = verify(installed, door.name, "--key-file", str(key_file), "--drain", "--output", "json")
    assert printed.stdout, printed.stderr
    proof = json.loads(printed.stdout)
    rows = {row["name"]: row for row in proof["rows"]}
    assert proof["report"]["pods"] == [pod["metadata"]["name"]]
    timed = {name for name in rows if name.startswith("start, ")} | {"tokens per second"}
    broken = {name: row["measured"] for name, row in rows.items() if not row["is_met"] and name not in timed}
    assert broken == {}, log.read_text()
    promises = {"ready", "streaming", "structured output", "stop strings", "stop tokens", "log probabilities"}
    assert promises | {"plan", "cancelling", "KV cache, tokens", "drain"} <= rows.keys()
    unknown = verify(installed, "nobody")
    assert unknown.returncode == 2
    assert "no GemmaDeployment nobody" in unknown.stderr
