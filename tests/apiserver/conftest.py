"""A real API server for the generated CRD and the rendered objects: the cluster that the cluster tests use.

`DEVCLUSTER_NAME` names another one. Whatever was not there before is removed again, also when tests fail.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_devcluster import installation
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.kubectl import Kubectl
from gemma_operator.api.crd import CRD_NAME, crd_manifest, crd_yaml

CLUSTER_NAME = os.environ.get("DEVCLUSTER_NAME", "test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def kubectl() -> Iterator[Kubectl]:
    cluster = Cluster(CLUSTER_NAME, gpus={"nvidia-l4": 4})
    existed = cluster.exists()
    try:
        if not existed:
            cluster.up()
        yield cluster.kubectl
    finally:
        if not existed and os.environ.get("DEVCLUSTER_KEEP") != "1":
            cluster.down()


@pytest.fixture(scope="module")
def crd(kubectl: Kubectl) -> Iterator[str]:
    """The CRD of this checkout, served."""
    try:
        found = kubectl.get("crd", CRD_NAME)
    except DevclusterError:
        found = None
    if found is None or found["spec"]["versions"] != crd_manifest()["spec"]["versions"]:
        kubectl.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=crd_yaml())
    kubectl.run("wait", f"crd/{CRD_NAME}", "--for=condition=Established", "--timeout=30s")
    try:
        yield CRD_NAME
    finally:
        if found is None:
            kubectl.run("delete", "crd", CRD_NAME, "--timeout=60s")


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the module's own that enforces Pod Security `restricted`."""
    name = f"apiserver-{uuid.uuid4().hex[:8]}"
    kubectl.apply([installation.namespace(name)])
    try:
        yield name
    finally:
        kubectl.run("delete", "namespace", name, "--timeout=120s")
