"""Two operators on one API server: one works, the other takes over, and what stood is not written again."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.conftest import ACCOUNT, SYSTEM_NAMESPACE
from apiserver.operator_process import OperatorProcess
from apiserver.test_reconcile import SPEC, TWO_REPLICAS, settled
from cluster.audit import Audit
from cluster.endpoint import Endpoint
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value

TAKEOVER_SECONDS = 15.0
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture
def pair(
    kubectl: Kubectl, operator_kubeconfig: Path, namespace: str, tmp_path: Path
) -> Iterator[list[OperatorProcess]]:
    metadata = {"name": "leases", "namespace": namespace}
    verbs = ["create", "get", "update"]
    rules = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leases"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM_NAMESPACE}
    kubectl.apply(
        [
            {"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": rules},
            {
                "apiVersion": RBAC,
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": reference,
                "subjects": [subject],
            },
        ]
    )
    processes = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        settings = {"watchNamespaces": [namespace]}
        lease = f"--lease={namespace}/gemma-operator"
        processes.append(OperatorProcess(operator_kubeconfig, tmp_path / name, settings, [lease]))
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            process.kill()


def leader(pair: list[OperatorProcess]) -> OperatorProcess:
    """The one that holds the lease, by its own word."""

    def holding() -> OperatorProcess | None:
        return next((process for process in pair if "holding the lease" in process.log), None)

    return await_value(holding, TAKEOVER_SECONDS, "somebody to hold the lease")


def test_a_killed_leader_is_followed_in_time_and_nothing_is_written_twice(
    pair: list[OperatorProcess], endpoint: Endpoint, audit: Audit
) -> None:
    first = leader(pair)
    settled(endpoint, SPEC)
    [second] = [process for process in pair if process is not first]
    assert second.is_ready()
    assert "holding the lease" not in second.log
    writes = Audit.from_now(audit.log, audit.user)
    died = time.monotonic()
    first.kill()
    await_value(lambda: "holding the lease" in second.log or None, 60.0, "the second to hold the lease")
    assert time.monotonic() - died <= TAKEOVER_SECONDS
    second.wait_reconciles(1)
    assert {resource for _, resource in writes.writes()} == {"leases"}


def test_a_leader_that_is_told_to_stop_hands_over_at_once(
    pair: list[OperatorProcess], endpoint: Endpoint
) -> None:
    first = leader(pair)
    [second] = [process for process in pair if process is not first]
    settled(endpoint, SPEC)
    assert first.stop() == 0
    await_value(lambda: "holding the lease" in second.log or None, 10.0, "the second to hold the lease")
    settled(endpoint, TWO_REPLICAS)
