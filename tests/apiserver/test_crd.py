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
from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.crd import CRD_NAME
from gemma_operator.api.manifest import owner_of
from gemma_operator.planning.plan import Plan
from gemma_operator.status.conditions import next_status
from gemma_operator.status.observed import observe
from support.plans import CPU_PLAN, spec_of

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.yaml"))
NOW = "2026-11-25T03:00:00Z"


@pytest.fixture(scope="module")
def namespace(control_plane: Cluster) -> Iterator[str]:
    with restricted_namespace(control_plane.kubectl) as name:
        yield name


def resource(spec: Any, name: str = "assistant") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def create(kubectl: Kubectl, namespace: str, manifest: dict[str, Any], *more: str) -> dict[str, Any]:
    arguments = ("create", "-n", namespace, "-f", "-", "-o", "json", "--validate=strict", *more)
    stored: dict[str, Any] = json.loads(kubectl.run(*arguments, stdin=json.dumps(manifest)))
    return stored


def dry_run(kubectl: Kubectl, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
    return create(kubectl, namespace, manifest, "--dry-run=server")


def test_the_api_server_finds_no_fault_with_the_schema(kubectl: Kubectl) -> None:
    conditions = {c["type"]: c["status"] for c in kubectl.get("crd", CRD_NAME)["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_accepted(kubectl: Kubectl, namespace: str, example: Path) -> None:
    dry_run(kubectl, namespace, yaml.safe_load(example.read_text()))


HUB = {"huggingFace": {"repository": "google/gemma-3-270m"}}
CLAIM = {"persistentVolumeClaim": {"claimName": "models"}}
IMAGE = {"image": {"reference": "registry.example/gemma:1"}}
GCS = {"gcs": {"uri": "gs://models/gemma"}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "spec.model: Required value"),
        ({"model": {}}, "spec.model.variant: Required value"),
        ({"model": {"variant": "v", "source": {}}}, "exactly one of huggingFace, gcs, s3"),
        ({"model": {"variant": "v", "source": {**HUB, **CLAIM}}}, "exactly one of huggingFace"),
        (
            {
                "model": {
                    "variant": "v",
                    "source": {"huggingFace": {**HUB["huggingFace"], "revision": "a/../b"}},
                }
            },
            "cannot hold '..'",
        ),
        (
            {
                "model": {
                    "variant": "v",
                    "source": {"persistentVolumeClaim": {"claimName": "models", "path": "a/../../b"}},
                }
            },
            "path lies within the claim",
        ),
        ({"model": {"variant": "v"}, "hardware": {"accelerator": "cpu", "count": 2}}, "leave it out with"),
        ({"model": {"variant": "v"}, "cache": {"claimName": "c", "size": "1Gi"}}, "names an existing claim"),
        ({"model": {"variant": "v", "source": CLAIM}, "cache": {}}, "need no cache"),
        ({"model": {"variant": "v", "source": IMAGE}, "cache": {}}, "need no cache"),
        ({"model": {"variant": "v", "source": {**IMAGE, **GCS}}}, "exactly one of huggingFace"),
        ({"model": {"variant": "v", "source": {"gcs": {"uri": "gs://models/../x"}}}}, "uri names a bucket"),
        ({"model": {"variant": "v", "source": {"s3": {"uri": "gs://models"}}}}, "spec.model.source.s3.uri"),
        (
            {"model": {"variant": "v", "source": {"image": {"reference": "a", "path": "../b"}}}},
            "path lies within the image",
        ),
        ({"model": {"variant": "v", "precision": "Q5"}}, 'Unsupported value: "Q5"'),
        ({"model": {"variant": "v"}, "replicas": 1001}, "less than or equal to 1000"),
        ({"model": {"variant": "v"}, "hardware": {"memory": "8 GB"}}, "spec.hardware.memory"),
        ({"model": {"variant": "v"}, "replicaz": 2}, 'unknown field "spec.replicaz"'),
    ],
)
def test_a_bad_spec_is_refused_with_field_and_reason(
    kubectl: Kubectl, namespace: str, spec: Any, words: str
) -> None:
    with pytest.raises(DevclusterError) as refused:
        dry_run(kubectl, namespace, resource(spec))
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["a.b", "1a", "a" * 64])
def test_a_name_that_cannot_name_a_service_is_refused(kubectl: Kubectl, namespace: str, name: str) -> None:
    with pytest.raises(DevclusterError, match=r"metadata\.name names a Service"):
        dry_run(kubectl, namespace, resource({"model": {"variant": "v"}}, name))


def test_nothing_but_replicas_is_written_into_a_stored_spec(kubectl: Kubectl, namespace: str) -> None:
    spec = {"model": {"variant": "v"}, "hardware": {"cpu": 2}, "cache": {}}
    assert dry_run(kubectl, namespace, resource(spec))["spec"] == {**spec, "replicas": 1}


def test_explain_prints_the_docstrings(kubectl: Kubectl) -> None:
    assert "Tokens of prompt plus answer" in kubectl.run("explain", "gemma.spec.model.contextLength")


def test_a_resource_can_be_scaled_and_listed_and_told_a_status(kubectl: Kubectl, namespace: str) -> None:
    stored = create(kubectl, namespace, resource({"model": {"variant": "v"}, "suspend": True}, "lived"))
    status = said(stored, CPU_PLAN)
    kubectl.run(
        "patch", "gemma", "lived", "-n", namespace, "--subresource=status", "--type=merge", "-p", status
    )
    kubectl.run("scale", "gemma/lived", "-n", namespace, "--replicas=3")

    scale = json.loads(
        kubectl.run("get", "gemma", "lived", "-n", namespace, "--subresource=scale", "-o", "json")
    )
    found = kubectl.get("gemma", "lived", "-n", namespace)
    assert scale["spec"]["replicas"] == found["spec"]["replicas"] == 3
    assert scale["status"]["selector"] == found["status"]["selector"]
    assert found["status"] == json.loads(status)["status"], "the schema keeps every field of a status"

    header, row = kubectl.run("get", "gd", "-n", namespace, "-o", "wide").splitlines()
    assert header.split() == [
        "NAME", "VARIANT", "ENGINE", "ACCELERATOR", "READY", "STATUS", "URL", "MESSAGE", "AGE"
    ]  # fmt: skip
    assert row.split()[:7] == [
        "lived", "v", "LlamaCpp", "cpu", "0/0", "Waiting", f"http://lived.{namespace}.svc/v1"
    ]  # fmt: skip


def said(stored: dict[str, Any], plan: Plan) -> str:
    owner = owner_of(stored)
    observed = observe(owner, [])
    return json.dumps({"status": next_status(spec_of(replicas=0), owner.generation, plan, observed, {}, NOW)})
