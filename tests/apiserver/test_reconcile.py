"""What the operator does to a real API server, counted in its audit log."""

from pathlib import Path
from typing import Any

import pytest

from apiserver.conftest import identity
from apiserver.operator_process import OperatorProcess
from cluster.audit import Audit
from cluster.endpoint import Endpoint
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value
from gemma_operator.api.manifest import MANAGER
from gemma_operator.kube.kinds import rbac_rules

SPEC: dict[str, Any] = {"model": {"variant": "gemma-3-270m", "contextLength": 1024}}
TWO_REPLICAS = {**SPEC, "replicas": 2}
CACHED = {**SPEC, "cache": {}}
UNFITTABLE = {"model": {"variant": "gemma-3-270m", "contextLength": 1048576}}
MAX_WRITES = 9


def settled(endpoint: Endpoint, spec: dict[str, Any]) -> None:
    """Apply the spec, and wait for what the scheduler says of its last pod, after which nothing happens."""
    endpoint.apply(spec)
    endpoint.wait_observed()
    reason = "WeightsPending" if "cache" in spec else "Unschedulable"
    endpoint.wait_reason("Ready", reason)
    pods = f"--for=jsonpath={{.status.replicas}}={spec.get('replicas', 1)}"
    endpoint.kubectl("wait", "deployment/assistant", pods)


def children(endpoint: Endpoint) -> dict[str, dict[str, Any]]:
    """What the operator made, by `Kind/name`."""
    kinds = "configmap,serviceaccount,deployment,service,pdb,networkpolicy,pvc,job"
    selector = f"app.kubernetes.io/managed-by={MANAGER}"
    items = endpoint.cluster.get(kinds, "-n", endpoint.namespace, "-l", selector, "--show-managed-fields")[
        "items"
    ]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in items}


def deployment(endpoint: Endpoint) -> dict[str, Any]:
    return endpoint.cluster.get("deployment", "assistant", "-n", endpoint.namespace)


def service(endpoint: Endpoint) -> dict[str, Any]:
    return endpoint.cluster.get("service", "assistant", "-n", endpoint.namespace, "--show-managed-fields")


def test_a_new_resource_costs_few_writes_and_no_reads(
    operator: OperatorProcess, endpoint: Endpoint, audit: Audit
) -> None:
    settled(endpoint, SPEC)
    assert {name.split("/")[0] for name in children(endpoint)} == {
        "ConfigMap", "ServiceAccount", "Deployment", "Service", "NetworkPolicy",
    }  # fmt: skip
    assert audit.writes().total() <= MAX_WRITES, audit.writes()
    assert audit.gets() == {}


def test_every_child_is_controlled_by_its_owner(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, TWO_REPLICAS)
    uid = endpoint.manifest()["metadata"]["uid"]
    for name, child in children(endpoint).items():
        references = child["metadata"]["ownerReferences"]
        assert [(r["uid"], r["controller"]) for r in references] == [(uid, True)], name
    assert "finalizers" not in endpoint.manifest()["metadata"]


def test_the_status_says_why_nothing_serves(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, SPEC)
    assert endpoint.condition("Planned")["status"] == "True"
    assert "nodes are available" in endpoint.condition("PodsReady")["message"]
    assert endpoint.manifest()["status"]["observedGeneration"] == 1


def test_two_operators_each_with_namespaces_of_its_own_do_not_meet(
    operator: OperatorProcess,
    endpoint: Endpoint,
    audit: Audit,
    operator_kubeconfig: Path,
    kubectl: Kubectl,
    tmp_path: Path,
) -> None:
    beside = Endpoint(kubectl, f"{endpoint.namespace}-2", "assistant")
    kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": beside.namespace}}])
    folder = tmp_path / "second"
    folder.mkdir()
    second = OperatorProcess(operator_kubeconfig, folder, {"watchNamespaces": [beside.namespace]})
    try:
        beside.apply(SPEC)
        settled(endpoint, SPEC)
        assert "status" not in beside.manifest()
        second.start()
        settled(beside, SPEC)
        assert children(endpoint).keys() == children(beside).keys()
        assert audit.writes().total() <= 2 * MAX_WRITES, audit.writes()
    finally:
        second.kill()
        kubectl.run("delete", "namespace", beside.namespace, "--wait=false")


def test_fo_11_the_cluster_autoscalers_reason_for_no_node_is_told(
    operator: OperatorProcess, endpoint: Endpoint, kubectl: Kubectl
) -> None:
    settled(endpoint, SPEC)
    (pod,) = endpoint.cluster.get("pods", "-n", endpoint.namespace)["items"]
    message = "pod didn't trigger scale-up: 1 max node group size reached"
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": endpoint.namespace}
    about |= {part: pod["metadata"][part] for part in ("name", "uid")}
    kubectl.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": "assistant.1", "namespace": endpoint.namespace},
                "involvedObject": about,
                "reason": "NotTriggerScaleUp",
                "message": message,
                "type": "Normal",
                "source": {"component": "cluster-autoscaler"},
                "reportingComponent": "cluster-autoscaler",
                "firstTimestamp": pod["metadata"]["creationTimestamp"],
                "lastTimestamp": pod["metadata"]["creationTimestamp"],
            }
        ]
    )
    endpoint.wait_reason("PodsReady", "AcceleratorNotProvisionable")
    assert message in endpoint.condition("PodsReady")["message"]
    assert "raise the maximum" in endpoint.manifest()["status"]["summary"]


@pytest.mark.parametrize("spec", [SPEC, TWO_REPLICAS], ids=["one", "two"])
def test_a_restarted_operator_writes_nothing(
    operator: OperatorProcess, endpoint: Endpoint, audit: Audit, control_plane: Any, spec: dict[str, Any]
) -> None:
    settled(endpoint, spec)
    operator.kill()
    restarted = Audit.from_now(audit.log, audit.user)
    operator.start()
    operator.wait_reconciles(1)
    assert operator.stop() == 0
    assert restarted.writes() == {}
    assert restarted.gets().keys() <= {("get", "")}  # discovery, which names no object


def test_a_second_reconcile_writes_nothing(
    operator: OperatorProcess, endpoint: Endpoint, audit: Audit
) -> None:
    settled(endpoint, SPEC)
    before, again = operator.reconciles(), Audit.from_now(audit.log, audit.user)
    endpoint.kubectl("annotate", "gemmadeployment", "assistant", "example.com/touched=1")
    operator.wait_reconciles(before + 1)
    assert again.writes() == {}


def test_an_edit_that_cannot_be_served_leaves_what_serves(
    operator: OperatorProcess, endpoint: Endpoint
) -> None:
    settled(endpoint, SPEC)
    before = deployment(endpoint)
    endpoint.apply(UNFITTABLE)
    endpoint.wait_reason("Planned", "ContextTooLong")
    endpoint.wait_observed()
    assert deployment(endpoint)["metadata"]["generation"] == before["metadata"]["generation"]
    assert deployment(endpoint)["metadata"]["uid"] == before["metadata"]["uid"]


def test_an_edit_changes_what_it_must_and_removes_what_it_no_longer_says(
    operator: OperatorProcess, endpoint: Endpoint
) -> None:
    settled(endpoint, {**TWO_REPLICAS, "hardware": {"cpu": "2"}})
    assert "PodDisruptionBudget/assistant" in children(endpoint)
    settled(endpoint, {**SPEC, "hardware": {"cpu": "1"}})
    endpoint.kubectl("wait", "pdb/assistant", "--for=delete", "--timeout=30s")
    endpoint.kubectl("wait", "deployment/assistant", "--for=jsonpath={.spec.replicas}=1", "--timeout=30s")
    (entry,) = [
        entry
        for entry in children(endpoint)["Deployment/assistant"]["metadata"]["managedFields"]
        if entry["manager"] == MANAGER
    ]
    assert entry["operation"] == "Apply"


WITHOUT_A_LABEL = '{"metadata":{"labels":{"app.kubernetes.io/name":null}}}'


@pytest.mark.parametrize(
    ("target", "patch", "path"),
    [
        ("service/assistant", '{"spec":{"selector":{"a":"b"}}}', "{.spec.selector}"),
        ("configmap/assistant-runtime", '{"data":{"runtime.json":"{}"}}', "{.data.runtime\\.json}"),
        ("deployment/assistant", '{"spec":{"replicas":3}}', "{.spec.replicas}"),
        ("networkpolicy/assistant", WITHOUT_A_LABEL, "{.metadata.labels.app\\.kubernetes\\.io/name}"),
    ],
    ids=["service", "configmap", "deployment", "label"],
)
def test_a_foreign_edit_of_an_owned_field_is_put_back(
    operator: OperatorProcess, endpoint: Endpoint, target: str, patch: str, path: str
) -> None:
    def value() -> str:
        return endpoint.kubectl("get", target, "-o", f"jsonpath={path}")

    settled(endpoint, SPEC)
    before = value()
    endpoint.kubectl("label", target, "team=blue")
    endpoint.kubectl("patch", target, "--type=merge", "-p", patch)
    await_value(lambda: value() == before or None, 30.0, f"{target} to be put back")
    assert endpoint.kubectl("get", target, "-o", "jsonpath={.metadata.labels.team}") == "blue"


def test_a_port_that_somebody_renumbered_is_put_back(operator: OperatorProcess, endpoint: Endpoint) -> None:
    """Server-side apply alone cannot: it would keep both ports, and one name for two is refused."""
    settled(endpoint, SPEC)
    edit = '[{"op": "replace", "path": "/spec/ports/0/port", "value": 8081}]'
    endpoint.kubectl("patch", "service", "assistant", "--type=json", "-p", edit)

    def ports() -> list[tuple[str, int]]:
        return [(port["name"], port["port"]) for port in service(endpoint)["spec"]["ports"]]

    await_value(lambda: ports() == [("http", 80)] or None, 30.0, "the port to be put back")
    managers = {
        (entry["manager"], entry["operation"]) for entry in service(endpoint)["metadata"]["managedFields"]
    }
    assert (MANAGER, "Update") not in managers
    assert endpoint.condition("Ready")["reason"] == "Unschedulable"


def test_a_deleted_child_comes_back(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, SPEC)
    before = endpoint.cluster.get("service", "assistant", "-n", endpoint.namespace)["metadata"]["uid"]
    endpoint.kubectl("delete", "service", "assistant")
    endpoint.kubectl("wait", "service/assistant", "--for=create", "--timeout=30s")
    after = endpoint.cluster.get("service", "assistant", "-n", endpoint.namespace)["metadata"]["uid"]
    assert after != before


def test_deleting_works_while_the_operator_is_down(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, TWO_REPLICAS)
    operator.stop()
    endpoint.kubectl("delete", "gemmadeployment", "assistant", "--timeout=30s")
    for child in (
        "deployment/assistant",
        "service/assistant",
        "configmap/assistant-runtime",
        "pdb/assistant",
    ):
        endpoint.kubectl("wait", child, "--for=delete", "--timeout=60s")
    operator.start()
    assert children(endpoint) == {}


def test_a_resource_made_anew_gets_new_children(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, SPEC)
    endpoint.kubectl("delete", "gemmadeployment", "assistant", "--timeout=30s")
    settled(endpoint, SPEC)
    uid = endpoint.manifest()["metadata"]["uid"]
    assert {child["metadata"]["ownerReferences"][0]["uid"] for child in children(endpoint).values()} == {uid}


@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [
        ("Service", "assistant", {"spec": {"ports": [{"port": 5432}]}}),
        ("ServiceAccount", "assistant", {}),
        ("ConfigMap", "assistant-runtime", {"data": {"a": "b"}}),
    ],
    ids=["service", "serviceaccount", "configmap"],
)
def test_a_foreign_object_of_the_same_name_is_never_adopted(
    operator: OperatorProcess, endpoint: Endpoint, kind: str, name: str, body: dict[str, Any]
) -> None:
    metadata = {"name": name, "namespace": endpoint.namespace}
    endpoint.cluster.apply([{"apiVersion": "v1", "kind": kind, "metadata": metadata, **body}])
    before = endpoint.cluster.get(kind, name, "-n", endpoint.namespace)
    endpoint.apply(SPEC)
    endpoint.wait_reason("Ready", "NameTaken")
    assert f"{kind} {endpoint.namespace}/{name}" in endpoint.condition("Ready")["message"]
    assert endpoint.cluster.get(kind, name, "-n", endpoint.namespace) == before
    endpoint.kubectl("delete", kind, name)
    endpoint.wait_reason("Ready", "Unschedulable")


def test_a_missing_permission_is_told_with_verb_and_resource(
    operator: OperatorProcess, endpoint: Endpoint, kubectl: Kubectl
) -> None:
    less = [rule for rule in rbac_rules() if rule["resources"] != ["poddisruptionbudgets"]]
    less.append({"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["list", "watch"]})
    kubectl.apply(identity(less))
    try:
        endpoint.apply(TWO_REPLICAS)
        endpoint.wait_reason("Ready", "Forbidden")
        assert 'cannot create resource "poddisruptionbudgets"' in endpoint.condition("Ready")["message"]
        assert operator.is_ready()
    finally:
        kubectl.apply(identity(rbac_rules()))
    endpoint.wait_reason("Ready", "Unschedulable")


def test_events_are_told_on_transitions_only(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, SPEC)
    endpoint.apply(UNFITTABLE)
    endpoint.wait_reason("Planned", "ContextTooLong")
    operator.kill()
    operator.start()
    operator.wait_reconciles(1)
    selector = "--field-selector=involvedObject.kind=GemmaDeployment"
    events = endpoint.cluster.get("events", "-n", endpoint.namespace, selector)["items"]
    assert sorted(event["reason"] for event in events) == ["ContextTooLong", "Unschedulable"]
