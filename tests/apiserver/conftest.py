"""A real API server with its controllers, and the operator as a process beside it. No pod ever starts.

Pods stay Pending, because the only node is tainted: tested is what the operator does to the API server.
`DEVCLUSTER_KEEP=1` leaves the cluster up for the next run.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.operator_process import OperatorProcess, kubeconfig_for
from cluster.audit import Audit
from cluster.endpoint import Endpoint
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value
from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.kinds import rbac_rules

CLUSTER_NAME = os.environ.get("DEVCLUSTER_NAME", "apiserver") + os.environ.get("PYTEST_XDIST_WORKER", "")
"""Two sessions, or two workers of one, need two names."""
SYSTEM_NAMESPACE = "gemma-system"
ACCOUNT = "operator"
USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{ACCOUNT}"
CRD = Path(__file__).parents[2] / "crds" / "serving.gemma-operator.dev_gemmadeployments.yaml"
TAINT = "test.gemma-operator.dev/no-pods=:NoSchedule"
MAX_NAME = 40
ESTABLISHED_SECONDS = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


def identity(rules: list[Manifest]) -> list[Manifest]:
    """The operator's service account with these permissions."""
    metadata, rbac = {"name": ACCOUNT}, "rbac.authorization.k8s.io/v1"
    account = {**metadata, "namespace": SYSTEM_NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM_NAMESPACE}],
        },
    ]


def await_established(kubectl: Kubectl, *definitions: str) -> None:
    """Until they are served. `kubectl wait` fails where no condition has been written yet."""

    def are_served() -> bool:
        return all(
            {"Established": "True"}.items()
            <= {c["type"]: c["status"] for c in found.get("status", {}).get("conditions") or ()}.items()
            for found in (kubectl.get("crd", name) for name in definitions)
        )

    await_value(lambda: are_served() or None, ESTABLISHED_SECONDS, f"{', '.join(definitions)} to be served")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    cluster = Cluster(CLUSTER_NAME)
    try:
        cluster.up()
        cluster.kubectl.run("taint", "nodes", "--all", "--overwrite", TAINT)
        cluster.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
        await_established(cluster.kubectl, "gemmadeployments.serving.gemma-operator.dev")
        cluster.kubectl.apply(identity(rbac_rules()))
        yield cluster
    finally:
        if os.environ.get("DEVCLUSTER_KEEP") != "1":
            cluster.down()


@pytest.fixture(scope="session")
def operator_kubeconfig(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the operator's service account, whose permissions are those of the chart."""
    token = control_plane.kubectl.run(
        "create", "token", ACCOUNT, "-n", SYSTEM_NAMESPACE, "--duration=24h"
    ).strip()
    path = tmp_path_factory.mktemp("operator") / "kubeconfig"
    path.write_text(kubeconfig_for(control_plane.kubeconfig(), token))
    return path


@pytest.fixture
def kubectl(control_plane: Cluster) -> Kubectl:
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:MAX_NAME].strip("-")
    name = f"{readable}-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:6]}"
    kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def operator(operator_kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator, running and watching the test's namespace."""
    process = OperatorProcess(operator_kubeconfig, tmp_path, {"watchNamespaces": [namespace]})
    try:
        process.start()
        yield process
    finally:
        process.kill()


@pytest.fixture
def endpoint(kubectl: Kubectl, namespace: str) -> Endpoint:
    return Endpoint(kubectl, namespace, "assistant")


@pytest.fixture
def audit(control_plane: Cluster) -> Audit:
    """What the operator asks of the API server from now on."""
    return Audit.from_now(control_plane.layout.audit_log, USER)
