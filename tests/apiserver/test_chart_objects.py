"""Everything that the chart renders, for every shape of cluster, is taken by a real API server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gemma_devcluster import builder, installation
from gemma_devcluster.kubectl import Kubectl

SHAPES = sorted(installation.CHART.glob("ci/*-values.yaml"))
SYSTEM_NAMESPACE = "chart-objects"
PRIORITY = "platform-critical"
"""Named by a shape; pods of a class that does not exist are refused."""
DEFINED_ELSEWHERE = ("gateway.networking.k8s.io", "monitoring.coreos.com", "monitoring.googleapis.com")
"""Gateway API and monitoring systems are not installed here; tests/chart looks at their objects."""


@pytest.fixture(scope="module")
def namespaces(control_plane: Any) -> Iterator[None]:
    names = (SYSTEM_NAMESPACE, "team-a", "team-b")
    kubectl: Kubectl = control_plane.kubectl
    kubectl.apply([installation.namespace(name) for name in names])
    kubectl.run("create", "priorityclass", PRIORITY, "--value=1000")
    yield
    kubectl.run("delete", "priorityclass", PRIORITY)
    kubectl.run("delete", "namespace", *names, "--wait=false")


def rendered(values: Path) -> list[dict[str, Any]]:
    helm = str(builder.ensure().path("helm"))
    command = [helm, "template", "shape", str(installation.CHART), "-n", SYSTEM_NAMESPACE, "-f", str(values)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def admissible(document: dict[str, Any]) -> dict[str, Any]:
    """The object; a pod as its service account, which the dry run did not make, would be admitted."""
    if document["kind"] != "Pod":
        return document
    return {**document, "spec": {**document["spec"], "serviceAccountName": "default"}}


def pods_of(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A pod as each Deployment would make it: Pod Security judges pods, and only warns of what makes them."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": document["metadata"]["name"],
                "namespace": document["metadata"]["namespace"],
                "labels": document["spec"]["template"]["metadata"]["labels"],
            },
            "spec": document["spec"]["template"]["spec"],
        }
        for document in documents
        if document["kind"] == "Deployment"
    ]


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("values", SHAPES, ids=lambda path: path.stem)
def test_the_api_server_takes_every_object(kubectl: Kubectl, values: Path) -> None:
    made = rendered(values)
    documents = [
        admissible(document)
        for document in (*made, *pods_of(made))
        if not document["apiVersion"].startswith(DEFINED_ELSEWHERE)
    ]
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    options = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-o", "name")
    answered = kubectl.run("apply", *options, "-f", "-", stdin=content).splitlines()
    assert len(answered) == len(documents) > 8
