"""A real cluster with the operator and the weights mirror in it, made once for all cluster tests.

`DEVCLUSTER_KEEP=1` leaves it up for the next run; otherwise it goes with the session, also when tests fail.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.audit import Audit
from cluster.endpoint import Endpoint
from gemma_devcluster import images, installation
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.installation import Helm
from gemma_devcluster.kubectl import Kubectl

CLUSTER_NAME = "test"
OPERATOR_USER = f"system:serviceaccount:{installation.OPERATOR_NAMESPACE}:{installation.RELEASE}"
MAX_NAME = 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@dataclass(frozen=True)
class Installed:
    """The cluster under test."""

    cluster: Cluster
    kubectl: Kubectl
    helm: Helm

    @property
    def audit_log(self) -> Path:
        return self.cluster.layout.audit_log

    def audit(self) -> Audit:
        """The operator's requests from now on."""
        return Audit.from_now(self.audit_log, OPERATOR_USER)

    def scale_operator(self, replicas: int) -> None:
        """Take the operator down (0) or bring it back (1); returns when that is so."""
        kubectl = self.kubectl
        system = ("-n", installation.OPERATOR_NAMESPACE)
        kubectl.run(*system, "scale", f"deployment/{installation.RELEASE}", f"--replicas={replicas}")
        if replicas:
            kubectl.run(*system, "rollout", "status", f"deployment/{installation.RELEASE}", "--timeout=120s")
        else:
            selector = "app.kubernetes.io/component=operator"
            kubectl.run(*system, "wait", "pod", "-l", selector, "--for=delete", "--timeout=120s")

    def kill_container(self, namespace: str, pod: str, container: str) -> None:
        """SIGKILL a container's first process from outside, as the kernel's out-of-memory killer would."""
        status = self.kubectl.get("pod", pod, "-n", namespace)["status"]
        identity = next(c["containerID"] for c in status["containerStatuses"] if c["name"] == container)
        node = next(n for n in self.cluster.nodes if n.name == self._node_of(namespace, pod))
        ctr = [str(self.cluster.binaries.path("ctr")), "--address", node.runtime_socket, "-n", "k8s.io"]
        self.cluster.machine.run(
            [*ctr, "tasks", "kill", "-s", "SIGKILL", identity.removeprefix("containerd://")]
        )

    def _node_of(self, namespace: str, pod: str) -> str:
        return str(self.kubectl.get("pod", pod, "-n", namespace)["spec"]["nodeName"])


@pytest.fixture(scope="session")
def installed() -> Iterator[Installed]:
    built = images.build()
    cluster = Cluster(CLUSTER_NAME, gpus={"nvidia-l4": 4})
    keep = os.environ.get("DEVCLUSTER_KEEP") == "1"
    try:
        cluster.up()
        for image in built.values():
            if not installation.image_is_present(cluster.kubectl, image.reference):
                cluster.load_image(image.archive)
        helm = Helm(cluster.binaries.path("helm"), cluster.kubeconfig())
        installation.install_mirror(cluster.kubectl, built["weights-mirror"])
        installation.install_operator(cluster.kubectl, helm, built)
        yield Installed(cluster, cluster.kubectl, helm)
    finally:
        if not keep:
            cluster.down()


@pytest.fixture
def namespace(installed: Installed, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own that enforces Pod Security `restricted`."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:MAX_NAME].strip("-")
    installed.kubectl.apply([installation.namespace(name)])
    yield name
    installed.kubectl.run("delete", "namespace", name, "--timeout=120s")


@pytest.fixture
def endpoint(installed: Installed, namespace: str) -> Endpoint:
    return Endpoint(installed.kubectl, namespace, "tiny")
