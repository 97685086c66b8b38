"""Kinds: their paths, what is remembered of them, and the permissions that follow from them."""

from pathlib import Path
from typing import Any

import yaml

from gemma_operator.api.manifest import MANAGER
from gemma_operator.kube.kinds import CHILD_KINDS, KINDS, NODE, POD, rbac_rules, trimmed

ROOT = Path(__file__).parents[3]
Permission = tuple[str, str, str]


def permissions(rules: list[dict[str, Any]]) -> set[Permission]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_chart_grants_exactly_what_is_used() -> None:
    template = (ROOT / "charts/gemma-operator/templates/_rbac.tpl").read_text()
    rules = "\n".join(line for line in template.splitlines() if not line.strip().startswith("{{"))
    granted = permissions(yaml.safe_load(rules))
    assert granted == permissions(rbac_rules())


def test_no_permission_reaches_secrets_or_wildcards() -> None:
    for group, resource, verb in permissions(rbac_rules()):
        assert resource != "secrets"
        assert "*" not in (group, resource, verb)


def test_paths_follow_the_api_conventions() -> None:
    deployment = KINDS["apps/v1", "Deployment"]
    assert deployment.path("team-a", "x") == "/apis/apps/v1/namespaces/team-a/deployments/x"
    assert deployment.path(None) == "/apis/apps/v1/deployments"
    assert POD.path("team-a") == "/api/v1/namespaces/team-a/pods"
    assert NODE.path("ignored") == "/api/v1/nodes"


def test_children_and_pods_are_followed_by_label_only() -> None:
    for kind in (*CHILD_KINDS, POD):
        assert kind.label_selector == f"app.kubernetes.io/managed-by={MANAGER}"


def test_of_a_pod_only_what_messages_use_is_remembered() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1", "managedFields": []},
        "spec": {
            "nodeSelector": {"gpu": "l4"},
            "containers": [
                {"name": "triton", "image": "x", "env": [], "resources": {"limits": {"memory": "1Gi"}}}
            ],
            "volumes": [
                {"name": "w", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "t", "emptyDir": {}},
            ],
        },
        "status": {"phase": "Pending"},
    }
    kept = trimmed(POD, pod)
    assert kept["spec"] == {
        "nodeSelector": {"gpu": "l4"},
        "containers": [{"name": "triton", "resources": {"limits": {"memory": "1Gi"}}}],
        "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "c"}}],
    }
    assert kept["status"] == {"phase": "Pending"}
    assert pod["spec"]["containers"][0]["image"] == "x"  # type: ignore[index]


def test_a_nodes_heartbeat_changes_nothing_that_is_remembered() -> None:
    node = {
        "metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "annotations": {"beat": "1"}},
        "status": {"allocatable": {"cpu": "4"}, "conditions": [{"lastHeartbeatTime": "1"}]},
    }
    later = {**node, "metadata": {**node["metadata"], "annotations": {"beat": "2"}}}
    later["status"] = {**node["status"], "conditions": [{"lastHeartbeatTime": "2"}]}
    assert trimmed(NODE, node) == trimmed(NODE, later)
