"""Rollouts through the real corridor, with the Deployment controller's part played by the test."""

import json
from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest, ObjectKey
from gemma_operator.api.v1alpha1 import UpgradePolicy
from gemma_operator.controller.basis import Basis
from gemma_operator.settings import OperatorSettings
from support.corridor import CATALOG, KEY, SPEC, Corridor

DEPLOYMENT = ObjectKey("apps/v1", "Deployment", "team-a", "assistant")
RECORD = "ConfigMap/assistant-last-good"
EDITED = {**SPEC, "capacity": {"maxConcurrentRequests": 2}}
FETCHED = {"name": "weights", "state": {"terminated": {"exitCode": 0, "message": "{}"}}}
EDITED_AGAIN = {**SPEC, "capacity": {"maxConcurrentRequests": 3}}


class Cluster(Corridor):
    """What the controllers of Kubernetes would do with the Deployment."""

    def deployment(self) -> Manifest:
        return self.api.objects[DEPLOYMENT]

    def template(self) -> str:
        value: str = self.deployment()["metadata"]["annotations"]["serving.gemma-operator.dev/template-hash"]
        return value

    def pace(self) -> tuple[int, int]:
        rolling = self.deployment()["spec"]["strategy"]["rollingUpdate"]
        return rolling["maxSurge"], rolling["maxUnavailable"]

    def pods(self, *pods: tuple[str, bool, str | None], stalled: bool = False) -> None:
        """Pods as (template, ready, scheduler's complaint); the last one is of the newest template."""
        for key in [key for key in self.api.objects if key.kind in ("Pod", "ReplicaSet")]:
            self.index.discard(key, self.api.version)
            del self.api.objects[key]
        newest = pods[-1][0]
        for revision, template in enumerate(dict.fromkeys(template for template, _, _ in pods)):
            self.api.put(self._replica_set(template, revision))
        for number, (template, is_ready, complaint) in enumerate(pods):
            self.api.put(self._pod(f"pod-{number}", template, is_ready, complaint))
        deployment = self.deployment()
        progressing = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
        if stalled:
            progressing |= {"status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": sum(template == newest for template, _, _ in pods),
            "readyReplicas": sum(is_ready for _, is_ready, _ in pods),
            "conditions": [progressing],
        }
        self.api._stamp(deployment)
        self.relist()

    def _replica_set(self, template: str, revision: int) -> Manifest:
        return {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"assistant-{template}",
                "namespace": "team-a",
                "uid": f"rs-{template}",
                "labels": self._labels(template),
                "annotations": {"deployment.kubernetes.io/revision": str(revision)},
                "ownerReferences": [
                    {"kind": "Deployment", "uid": self.deployment()["metadata"]["uid"], "controller": True}
                ],
            },
        }

    def _pod(self, name: str, template: str, is_ready: bool, complaint: str | None) -> Manifest:
        ready = {"type": "Ready", "status": str(is_ready), "lastTransitionTime": "2026-11-25T00:00:00Z"}
        conditions: list[Manifest] = [ready]
        if complaint is not None:
            conditions.append({"type": "PodScheduled", "status": "False", "message": complaint})
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "team-a",
                "uid": name,
                "creationTimestamp": "2026-11-25T00:00:00Z",
                "labels": self._labels(template),
                "ownerReferences": [{"kind": "ReplicaSet", "uid": f"rs-{template}", "controller": True}],
            },
            "spec": {} if complaint else {"nodeName": "node-1"},
            "status": {"phase": "Running", "conditions": conditions, "initContainerStatuses": [FETCHED]},
        }

    def _labels(self, template: str) -> dict[str, str]:
        return {
            "app.kubernetes.io/managed-by": "gemma-operator",
            "serving.gemma-operator.dev/deployment": "assistant",
            "serving.gemma-operator.dev/role": "serving",
            "pod-template-hash": template,
        }


@pytest.fixture
async def serving() -> Cluster:
    """An endpoint that serves from its first template."""
    cluster = Cluster()
    cluster.user_applies(SPEC)
    await cluster.settle()
    cluster.pods(("old", True, None))
    await cluster.settle()
    return cluster


async def rolled_out_to(cluster: Cluster, spec: Manifest, *pods: Any, stalled: bool = False) -> None:
    cluster.user_applies(spec)
    await cluster.settle()
    cluster.pods(*pods, stalled=stalled)
    await cluster.settle()


async def test_what_serves_is_recorded_for_the_way_back(serving: Cluster) -> None:
    record = json.loads(serving.children()[RECORD]["data"]["revision.json"])
    assert record["templateHash"] == serving.template()
    assert serving.condition("UpToDate")["status"] == "True"
    assert serving.api.objects[KEY]["status"]["rendered"]["templateHash"] == serving.template()


async def test_scaling_changes_no_pod_and_no_record(serving: Cluster) -> None:
    template, record = serving.template(), serving.children()[RECORD]["data"]
    serving.user_applies({**SPEC, "replicas": 2})
    await serving.settle()
    assert serving.template() == template
    assert serving.children()[RECORD]["data"] == record


async def test_with_room_on_a_node_an_edit_surges(serving: Cluster) -> None:
    await rolled_out_to(serving, EDITED, ("old", True, None), ("new", False, None))
    assert serving.pace() == (1, 0)
    assert serving.condition("UpToDate")["reason"] == "Updating"


async def test_a_surge_pod_without_room_makes_the_rollout_go_on_in_place(serving: Cluster) -> None:
    complaint = "0/1 nodes are available: 1 Insufficient cpu."
    await rolled_out_to(serving, EDITED, ("old", True, None), ("new", False, complaint))
    assert serving.pace() == (0, 1)
    assert complaint.rstrip(".") in serving.condition("UpToDate")["message"]


async def test_a_broken_old_pod_does_not_stand_in_the_way(serving: Cluster) -> None:
    await rolled_out_to(serving, EDITED, ("old", False, None), ("new", False, "Insufficient cpu"))
    assert serving.pace()[1] == 1


async def test_a_failed_rollout_goes_back_to_what_served_and_says_why(serving: Cluster) -> None:
    good, config = serving.template(), serving.children()["ConfigMap/assistant-runtime"]["data"]
    await rolled_out_to(serving, EDITED, ("old", True, None), ("new", False, None), stalled=True)
    assert serving.template() == good
    assert serving.children()["ConfigMap/assistant-runtime"]["data"] == config
    serving.pods(("old", True, None))
    await serving.settle()
    told = serving.condition("UpToDate")
    assert (told["status"], told["reason"]) == ("False", "RolledBack")
    assert "timed out" in told["message"]
    assert serving.condition("Ready")["status"] == "True"
    assert serving.api.objects[KEY]["status"]["plan"]["maxConcurrentRequests"] != 2


async def test_what_failed_is_not_tried_again_until_the_spec_is_edited(serving: Cluster) -> None:
    good = serving.template()
    await rolled_out_to(serving, EDITED, ("old", True, None), ("new", False, None), stalled=True)
    serving.pods(("old", True, None))
    serving.restart()
    await serving.settle()
    assert serving.template() == good
    serving.user_applies(EDITED_AGAIN)
    await serving.settle()
    assert serving.template() != good
    assert "serving.gemma-operator.dev/rolled-back" not in serving.deployment()["metadata"]["annotations"]


async def test_first_pods_that_are_seen_before_the_deployments_status_are_no_replacement() -> None:
    cluster = Cluster()
    cluster.user_applies(SPEC)
    await cluster.settle()
    pace = cluster.pace()
    cluster.pods(("old", False, "0/1 nodes are available: 1 Insufficient cpu."))
    del cluster.deployment()["status"]
    cluster.api._stamp(cluster.deployment())
    cluster.relist()
    await cluster.settle()
    assert cluster.pace() == pace
    assert cluster.condition("UpToDate")["reason"] == "UpToDate"


async def test_old_pods_are_not_up_to_date_while_the_new_replicaset_is_still_unseen(
    serving: Cluster,
) -> None:
    serving.user_applies(EDITED)
    await serving.settle()
    serving.pods(("old", True, None))
    serving.deployment()["status"]["updatedReplicas"] = 0
    serving.api._stamp(serving.deployment())
    serving.relist()
    await serving.settle()
    assert serving.condition("UpToDate")["reason"] == "Updating"


async def test_a_first_rollout_that_fails_has_nothing_to_go_back_to() -> None:
    cluster = Cluster()
    cluster.user_applies(SPEC)
    await cluster.settle()
    template = cluster.template()
    cluster.pods(("old", False, None), stalled=True)
    await cluster.settle()
    assert cluster.template() == template
    assert RECORD not in cluster.children()
    assert cluster.condition("PodsReady")["reason"] == "StartTimeout"


def newer_operator(cluster: Cluster) -> None:
    """The same cluster under an operator whose rendering differs."""
    changed = cluster.basis.settings.model_dump(by_alias=True)
    changed["pods"]["gateway"]["memory"] = "640Mi"
    cluster.basis = Basis(OperatorSettings.model_validate(changed), CATALOG)
    cluster.restart()


async def test_a_newer_operator_changes_no_pod_by_itself(serving: Cluster) -> None:
    template = serving.template()
    newer_operator(serving)
    await serving.settle()
    assert serving.template() == template
    told = serving.condition("UpToDate")
    assert (told["status"], told["reason"]) == ("False", "OperatorChanged")
    assert serving.api.objects[KEY]["status"]["rendered"]["pending"] != template


async def test_replicas_still_follow_the_spec_while_pods_are_held(serving: Cluster) -> None:
    template = serving.template()
    newer_operator(serving)
    serving.user_applies({**SPEC, "replicas": 3})
    await serving.settle()
    assert (serving.template(), serving.deployment()["spec"]["replicas"]) == (template, 3)


async def test_a_limit_reaches_pods_that_are_held(serving: Cluster) -> None:
    template = serving.template()
    newer_operator(serving)
    serving.user_applies({**SPEC, "safety": {"maxInputCharacters": 7}})
    await serving.settle()
    runtime = serving.api.objects[ObjectKey("v1", "ConfigMap", "team-a", "assistant-runtime")]
    assert json.loads(runtime["data"]["runtime.json"])["safety"]["max_input_characters"] == 7
    assert serving.template() == template
    assert serving.condition("UpToDate")["reason"] == "OperatorChanged"


async def test_an_edit_takes_what_the_newer_operator_brings_along(serving: Cluster) -> None:
    newer_operator(serving)
    serving.user_applies(EDITED)
    await serving.settle()
    (gateway,) = [
        container
        for container in serving.deployment()["spec"]["template"]["spec"]["containers"]
        if container["name"] == "gateway"
    ]
    assert gateway["resources"]["limits"]["memory"] == "640Mi"


async def test_the_policy_automatic_lets_pods_follow_in_turn(serving: Cluster) -> None:
    template = serving.template()
    policy = {"rollout": {"upgradePolicy": UpgradePolicy.AUTOMATIC.value}}
    newer_operator(serving)
    other = ObjectKey(KEY.api_version, KEY.kind, "team-b", "first")
    assert serving.basis.turns.take(other)
    serving.user_applies({**SPEC, **policy})
    await serving.settle()
    assert serving.template() == template
    serving.basis.turns.follow(other, False)
    await serving.settle()
    assert serving.template() != template


async def test_a_record_that_somebody_broke_is_made_anew(serving: Cluster) -> None:
    key = ObjectKey("v1", "ConfigMap", "team-a", "assistant-last-good")
    before = serving.api.objects[key]["data"]
    serving.api.put({**serving.api.objects[key], "data": {"revision.json": "{"}})
    serving.relist()
    await serving.settle()
    assert serving.api.objects[key]["data"] == before


async def test_slow_controllers_cost_a_new_endpoint_no_status_in_between() -> None:
    """At a thousand new endpoints each step of Kubernetes' controllers is seen by itself."""
    cluster = Cluster()
    cluster.user_applies(SPEC)
    await cluster.settle()
    said = cluster.api.objects[KEY]["status"]
    for status in ({}, {"observedGeneration": 1}, {"observedGeneration": 1, "conditions": []}):
        cluster.api.put({**cluster.deployment(), "status": status})
        await cluster.settle()
        assert cluster.api.objects[KEY]["status"] == said
    assert cluster.condition("UpToDate")["status"] == "True"
    assert cluster.condition("PodsReady")["reason"] == "Starting"
