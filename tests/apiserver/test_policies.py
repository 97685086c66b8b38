"""The sample admission policies, on a real API server: what they refuse, in which words, what they let by."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.restricted import restricted_namespace
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value
from gemma_operator.api.base import API_VERSION, KIND

POLICIES = Path(__file__).parents[2] / "examples" / "policies"
FOREIGN = {"huggingFace": {"repository": "somebody/gemma-3-270m"}}
MIRRORED = {"huggingFace": {"repository": "google/gemma-3-270m", "endpoint": "http://mirror.example"}}


def resource(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "assistant"}
    model = {"variant": "gemma-3-270m", **spec.pop("model", {})}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {"model": model, **spec}}


def pod(image: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "gemma-operator"}
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "triton", "image": image, "securityContext": security}
    metadata = {"name": "assistant", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


STRANGE_BUCKET = {"gcs": {"uri": "gs://example-models-of-others/gemma"}}
STRANGE_STORE = {"s3": {"uri": "s3://example-models/gemma", "endpoint": "https://store.example"}}
STRANGE_IMAGE = {"image": {"reference": "docker.io/somebody/gemma:1"}}
REFUSED = {
    "source": (resource(model={"source": FOREIGN}), "is not of google, unsloth, RedHatAI"),
    "endpoint": (resource(model={"source": MIRRORED}), "endpoint is set by the operator"),
    "bucket": (resource(model={"source": STRANGE_BUCKET}), "is not in gs://example-models/"),
    "store": (resource(model={"source": STRANGE_STORE}), "leads to another store"),
    "image": (resource(model={"source": STRANGE_IMAGE}), "is not from registry.example.com/"),
    "registry": (pod("docker.io/library/busybox"), "is not from nvcr.io/nvidia/"),
    "accelerators": (resource(replicas=3, hardware={"count": 4}), "replicas x hardware.count is 12"),
}
ACCEPTED = {
    "default source": resource(),
    "own bucket": resource(model={"source": {"s3": {"uri": "s3://example-models/gemma"}}}),
    "own image": resource(model={"source": {"image": {"reference": "registry.example.com/gemma:1"}}}),
    "own registry": pod("registry.example.com/gemma/triton-cpu:1"),
    "few accelerators": resource(replicas=2, hardware={"count": 4}),
    "many pods on the CPU": resource(replicas=20, hardware={"accelerator": "cpu"}),
}


@pytest.fixture(scope="module")
def namespace(control_plane: Cluster) -> Iterator[str]:
    kubectl = control_plane.kubectl
    policies = [
        policy
        for path in sorted(POLICIES.glob("*.yaml"))
        for policy in yaml.safe_load_all(path.read_text())
        if policy["kind"] != "ResourceQuota"
    ]
    with restricted_namespace(kubectl) as name:
        kubectl.run("label", "namespace", name, "gemma-policies=enforced")
        kubectl.apply(policies)
        try:
            for manifest, _ in REFUSED.values():
                # The API server takes a moment until a new policy is in force.
                await_value(lambda m=manifest: refusal(kubectl, name, m), 30.0, "the policies to be in force")
            yield name
        finally:
            for policy in policies:
                kubectl.run("delete", policy["kind"], policy["metadata"]["name"])


def refusal(kubectl: Kubectl, namespace: str, manifest: dict[str, Any]) -> str | None:
    """What the API server says against an object; None where it takes it."""
    arguments = ("create", "-n", namespace, "-f", "-", "--dry-run=server")
    try:
        kubectl.run(*arguments, stdin=json.dumps(manifest))
    except DevclusterError as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", REFUSED)
def test_a_policy_says_what_it_refuses(kubectl: Kubectl, namespace: str, case: str) -> None:
    manifest, words = REFUSED[case]
    said = refusal(kubectl, namespace, manifest)
    assert said is not None
    assert words in said


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_policy_lets_the_rest_by(kubectl: Kubectl, namespace: str, case: str) -> None:
    assert refusal(kubectl, namespace, ACCEPTED[case]) is None
