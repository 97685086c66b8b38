"""A real cluster with the operator and the weights mirror in it, made once for all cluster tests.

`DEVCLUSTER_KEEP=1` leaves it up for the next run; otherwise it goes with the session, also when tests fail.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.audit import Audit
from cluster.endpoint import Endpoint
from cluster.namespaces import guard, guarded_namespace
from gemma_devcluster import images, installation
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.installation import Helm
from gemma_devcluster.kubectl import Kubectl

CLUSTER_NAME = os.environ.get("DEVCLUSTER_NAME", "test") + os.environ.get("PYTEST_XDIST_WORKER", "")
"""Two sessions, or two workers of one, need two names."""
OPERATOR_USER = f"system:serviceaccount:{installation.OPERATOR_NAMESPACE}:{installation.RELEASE}"
MAX_NAME = 40
CHANGE_SECONDS = 120
QUIET_SECONDS = 3.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


def until(holds: Callable[[], bool], what: str, every: float = 0.5) -> None:
    """Look again and again until it holds; for what no watch can tell."""
    deadline = time.monotonic() + CHANGE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {CHANGE_SECONDS} s for {what}")
        time.sleep(every)


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

    def operator_pod(self) -> dict[str, Any]:
        """The one pod of the operator."""
        selector = "app.kubernetes.io/component=operator"
        pods = self.kubectl.get("pods", "-n", installation.OPERATOR_NAMESPACE, "-l", selector)["items"]
        [pod] = pods
        return dict(pod)

    def kill_operator(self) -> None:
        """SIGKILL the operator and return when its successor is ready."""
        before = self.operator_pod()
        name = before["metadata"]["name"]
        restarts = before["status"]["containerStatuses"][0]["restartCount"]
        self.kill_container(installation.OPERATOR_NAMESPACE, name, "operator")
        system = ("-n", installation.OPERATOR_NAMESPACE, "wait", f"pod/{name}", "--timeout=180s")
        self.kubectl.run(
            *system, f"--for=jsonpath={{.status.containerStatuses[0].restartCount}}={restarts + 1}"
        )
        self.kubectl.run(*system, "--for=condition=Ready")

    def reconciles(self) -> float:
        """Reconciles finished since the operator started, by its own count."""
        return self._metric("gemma_operator_reconcile_seconds_count")

    def wait_reconciles_above(self, count: float) -> None:
        """Until the operator has finished more reconciles than this, and has none waiting."""
        until(lambda: self.reconciles() > count and self._is_idle(), "another reconcile")

    def wait_resynced(self) -> None:
        """Until a restarted operator has looked at every GemmaDeployment once."""
        resources = len(self.kubectl.get("gemmadeployments", "-A")["items"])
        self.wait_reconciles_above(resources - 1)

    def settle(self) -> None:
        """Until the operator has nothing to do and has written nothing for a while."""
        audit = self.audit()

        def quiet() -> bool:
            nonlocal audit
            written, audit = audit.writes(), self.audit()
            return not written and self._is_idle()

        until(quiet, "the operator to come to rest", every=QUIET_SECONDS)

    def _is_idle(self) -> bool:
        return self._metric("gemma_operator_queue_depth") == 0

    def _metric(self, name: str) -> float:
        address = self.operator_pod()["status"]["podIP"]
        page = httpx.get(f"http://{address}:9090/metrics", trust_env=False).text
        families = text_string_to_metric_families(page)
        return sum(s.value for family in families for s in family.samples if s.name == name)

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
        guard(cluster.kubectl, installation.OPERATOR_NAMESPACE)
        installation.install_operator(cluster.kubectl, helm, built)
        yield Installed(cluster, cluster.kubectl, helm)
    finally:
        if not keep:
            cluster.down()


@pytest.fixture
def namespace(installed: Installed, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own that enforces Pod Security `restricted`, and denies all traffic."""
    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:MAX_NAME].strip("-")
    name = f"{readable}-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:6]}"
    with guarded_namespace(installed.kubectl, name) as guarded:
        yield guarded


@pytest.fixture
def endpoint(installed: Installed, namespace: str) -> Endpoint:
    return Endpoint(installed.kubectl, namespace, "tiny")
