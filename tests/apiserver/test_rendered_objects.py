import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.restricted import restricted_namespace
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.kubectl import Kubectl
from gemma_operator.cli.documents import read_resources
from gemma_operator.cli.render import render
from gemma_operator.resources.desired import desired_objects
from gemma_operator.settings import OperatorSettings
from support.plans import CPU_PLAN, GPU_PLAN, OWNER, spec_of

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.yaml"))
SHAPES = sorted((Path(__file__).resolve().parents[1] / "data" / "shapes").glob("*.yaml"))
SETTINGS = OperatorSettings()
every_example = pytest.mark.parametrize("example", [*EXAMPLES, *SHAPES], ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def namespace(control_plane: Cluster) -> Iterator[str]:
    with restricted_namespace(control_plane.kubectl) as name:
        yield name


def rendered(example: Path, namespace: str) -> list[dict[str, Any]]:
    (resource,) = read_resources(str(example))
    return render(resource, SETTINGS, (), namespace)


def apply(kubectl: Kubectl, manifests: list[dict[str, Any]], *more: str) -> list[dict[str, Any]]:
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    arguments = ("apply", "--server-side", "--validate=strict", "-f", "-", "-o", "json", *more)
    answer = json.loads(kubectl.run(*arguments, stdin=content))
    applied: list[dict[str, Any]] = answer["items"] if answer["kind"] == "List" else [answer]
    return applied


def pods_of(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that a Deployment's or a Job's controller would make."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{manifest['metadata']['name']}-x",
                "namespace": manifest["metadata"]["namespace"],
                "labels": manifest["spec"]["template"]["metadata"]["labels"],
            },
            "spec": {**manifest["spec"]["template"]["spec"], "serviceAccountName": "default"},
        }
        for manifest in manifests
        if manifest["kind"] in ("Deployment", "Job")
    ]


@every_example
def test_every_rendered_object_is_accepted(kubectl: Kubectl, namespace: str, example: Path) -> None:
    manifests = rendered(example, namespace)
    assert len(apply(kubectl, manifests, "--dry-run=server")) == len(manifests)


@every_example
def test_pod_security_restricted_admits_every_pod(kubectl: Kubectl, namespace: str, example: Path) -> None:
    pods = pods_of(rendered(example, namespace))
    assert pods
    assert len(apply(kubectl, pods, "--dry-run=server")) == len(pods)


def test_pod_security_restricted_is_enforced_here(kubectl: Kubectl, namespace: str) -> None:
    (pod, *_) = pods_of(rendered(EXAMPLES[0], namespace))
    del pod["spec"]["securityContext"]
    with pytest.raises(DevclusterError, match="violates PodSecurity"):
        apply(kubectl, [pod], "--dry-run=server")


@pytest.mark.parametrize("plan", [CPU_PLAN, GPU_PLAN], ids=["cpu", "gpu"])
def test_applying_twice_changes_nothing(kubectl: Kubectl, namespace: str, plan: Any) -> None:
    spec = spec_of(replicas=0)
    manifests = [
        {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace, "ownerReferences": []}}
        for manifest in desired_objects(OWNER, spec, plan, SETTINGS)
    ]
    first, second = apply(kubectl, manifests), apply(kubectl, manifests)
    versions = [
        [m["metadata"].get("generation", m["metadata"]["resourceVersion"]) for m in run]
        for run in (first, second)
    ]
    assert versions[0] == versions[1]
