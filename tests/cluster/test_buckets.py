"""Weights from a store in the cluster that speaks S3 and checks signatures: fetched by a Job, then served."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.conftest import Installed
from cluster.endpoint import CONTINUATION, Endpoint, spec
from cluster.scan import pod_logs
from gemma_devcluster import images, installation
from support.object_store import ACCESS_KEY, SECRET_KEY
from support.object_store_main import BUCKET, PORT

SUPPORT = Path(__file__).parents[1] / "support"
FOLDER = "gemma-3-270m-GGUF"
STORE = {"name": "object-store", "namespace": installation.MIRROR_NAMESPACE}
SELECTOR = {"app": "object-store"}


def store_objects(server: str, model: str) -> list[dict[str, Any]]:
    """The tests' own store, in the gateway's image for its libraries, with the mirror's model in it."""
    code = {path.name: path.read_text() for path in sorted(SUPPORT.glob("object_store*.py"))}
    container = {
        "name": "store",
        "image": server,
        "command": ["python3", "-m", "support.object_store_main", f"/model/opt/mirror/unsloth/{FOLDER}"],
        "env": [{"name": "PYTHONPATH", "value": "/code:/opt/gemma/lib"}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "code", "mountPath": "/code/support"},
            {"name": "model", "mountPath": "/model"},
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "code", "configMap": {"name": STORE["name"]}},
            {"name": "model", "image": {"reference": model}},
        ],
    }
    template = {"metadata": {"labels": SELECTOR}, "spec": pod}
    deployment = {"replicas": 1, "selector": {"matchLabels": SELECTOR}, "template": template}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": STORE, "data": code},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": STORE, "spec": deployment},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": STORE,
            "spec": {"selector": SELECTOR, "ports": [{"port": PORT}]},
        },
        {
            # The mirror's namespace denies what no policy allows.
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": STORE,
            "spec": {
                "podSelector": {"matchLabels": SELECTOR},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
            },
        },
    ]


@pytest.fixture(scope="module")
def store(installed: Installed) -> Iterator[str]:
    built, kubectl = images.build(["gateway", "weights-mirror"]), installed.kubectl
    for image in built.values():
        # The session's own, unless somebody edits while it runs.
        if not installation.image_is_present(kubectl, image.reference):
            installed.cluster.load_image(image.archive)
    made = store_objects(built["gateway"].reference, built["weights-mirror"].reference)
    kubectl.apply(made)
    try:
        kubectl.run(
            "-n", STORE["namespace"], "rollout", "status", f"deployment/{STORE['name']}", "--timeout=180s"
        )
        yield f"http://{STORE['name']}.{STORE['namespace']}.svc:{PORT}"
    finally:
        for manifest in made:
            kubectl.run("-n", STORE["namespace"], "delete", manifest["kind"], STORE["name"], "--wait=false")


def model(store: str, secret: str | None) -> dict[str, Any]:
    s3: dict[str, Any] = {"uri": f"s3://{BUCKET}/{FOLDER}", "endpoint": store}
    if secret:
        s3["credentialsSecretRef"] = {"name": secret}
    return {"variant": "gemma-3-270m", "contextLength": 1024, "source": {"s3": s3}}


def keys(endpoint: Endpoint, secret_key: str) -> str:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "store", "namespace": endpoint.namespace},
        "stringData": {"accessKeyId": ACCESS_KEY, "secretAccessKey": secret_key},
    }
    endpoint.cluster.apply([secret])
    return "store"


def test_a_bucket_is_fetched_with_keys_that_nothing_tells_and_served(
    installed: Installed, endpoint: Endpoint, store: str
) -> None:
    endpoint.apply(spec(model=model(store, keys(endpoint, SECRET_KEY)), cache={}))
    endpoint.wait("Ready")
    assert CONTINUATION in endpoint.complete()
    weights = endpoint.manifest()["status"]["weights"]
    assert weights["source"] == f"s3://{BUCKET}/{FOLDER}"
    assert len(weights["revision"]) == 40
    assert weights["bytesDone"] == weights["bytesTotal"] > 0
    kinds = "all,configmaps,events,networkpolicies,gemmadeployments"
    written = endpoint.kubectl("get", kinds, "-o", "json")
    written += "".join(text for _, text in pod_logs(installed, endpoint.namespace))
    assert SECRET_KEY not in written


def test_a_bucket_without_keys_says_so(endpoint: Endpoint, store: str) -> None:
    endpoint.apply(spec(model=model(store, None), cache={}))
    endpoint.wait_reason("WeightsReady", "TokenRequired")
    assert "credentialsSecretRef" in endpoint.condition("WeightsReady")["message"]


def test_wrong_keys_are_told_and_corrected_ones_taken_without_an_edit(endpoint: Endpoint, store: str) -> None:
    endpoint.apply(spec(model=model(store, keys(endpoint, "planted-and-wrong")), cache={}))
    endpoint.wait_reason("WeightsReady", "AccessDenied")
    assert "planted-and-wrong" not in json.dumps(endpoint.manifest())
    keys(endpoint, SECRET_KEY)
    endpoint.wait("Ready")
