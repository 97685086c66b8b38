from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import ConditionStatus
from gemma_operator.status.observed import observe
from gemma_operator.status.pods import last_line, trouble_of
from gemma_operator.status.podsready import pods_verdict
from gemma_operator.status.verdict import Verdict
from support.children import (
    EARLIER,
    LATER,
    NOW,
    condition,
    deployment,
    end,
    ended,
    pod,
    replica_set,
    running,
    serving,
    unscheduled,
    waiting,
    warning,
)
from support.plans import CPU_PLAN, GPU_PLAN, OWNER, spec_of


def verdict(*children: Manifest, events: tuple[Manifest, ...] = (), **fields: Any) -> Verdict:
    return pods_verdict(spec_of(**fields), CPU_PLAN, observe(OWNER, children, events))


def verdict_of_pod(troubled: Manifest, *events: Manifest) -> Verdict:
    return verdict(deployment(replicas=1, updatedReplicas=1), replica_set(), troubled, events=events)


def test_all_replicas_of_the_current_template_ready() -> None:
    answer = verdict(serving(2))
    assert (answer.status, answer.reason) == (ConditionStatus.TRUE, Reason.PODS_READY)
    assert answer.message == "2 of 2 replicas take requests"


def test_without_a_deployment_nothing_can_be_said() -> None:
    assert verdict().status is ConditionStatus.UNKNOWN


def test_a_deployment_that_its_controller_has_not_seen_yet_is_not_done() -> None:
    stale = serving(1)
    stale["metadata"]["generation"] = 2
    assert verdict(stale).reason is Reason.UPDATING


def test_a_rollout_says_how_far_it_is() -> None:
    answer = verdict(deployment(desired=2, replicas=3, updatedReplicas=1, readyReplicas=2))
    assert answer == Verdict.false(Reason.UPDATING, "1 of 2 replicas are updated, 2 take requests")


def test_some_of_the_replicas() -> None:
    answer = verdict(deployment(desired=3, replicas=3, updatedReplicas=3, readyReplicas=1))
    assert answer == Verdict.false(Reason.DEGRADED, "1 of 3 replicas take requests")


def test_loading() -> None:
    answer = verdict_of_pod(pod(containers=[running("triton"), running("gateway")]))
    assert answer.reason is Reason.STARTING


def test_the_schedulers_own_words_and_what_was_asked() -> None:
    words = "0/12 nodes are available: 12 Insufficient nvidia.com/gpu."
    asked = {"nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"}}
    answer = verdict_of_pod(pod(conditions=[unscheduled(words)], spec=asked))
    assert answer.reason is Reason.UNSCHEDULABLE
    assert answer.message == f"{words} (asked for nodes with cloud.google.com/gke-accelerator=nvidia-l4)"


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"]
)
def test_the_kubelets_own_words_about_an_image(reason: str) -> None:
    answer = verdict_of_pod(
        pod(init=[waiting("repository", reason, 'Back-off pulling image "x": not found')])
    )
    assert answer.reason is Reason.IMAGE_PULL_FAILED
    assert answer.message == 'container repository: Back-off pulling image "x": not found'


def test_a_crash_is_told_by_its_last_line() -> None:
    trace = "Traceback (most recent call last):\n  File x\nValueError: no such folder: /weights/x\n"
    answer = verdict_of_pod(pod(containers=[waiting("triton", "CrashLoopBackOff", last=end(1, trace))]))
    assert answer.reason is Reason.CRASH_LOOP
    assert answer.message == (
        "container triton ended with exit code 1 after 2 restarts: ValueError: no such folder: /weights/x"
    )


def test_a_crash_stays_told_while_the_container_tries_again() -> None:
    retrying = pod(containers=[running("triton", last=end(1, "boom")), running("gateway")])
    assert verdict_of_pod(retrying).reason is Reason.CRASH_LOOP


def test_a_crash_before_the_pod_was_last_ready_is_history() -> None:
    conditions = [condition("Ready", "False", at=LATER)]
    unready = pod(containers=[running("triton", since=NOW, last=end(1, "boom"))], conditions=conditions)
    assert verdict_of_pod(unready).reason is Reason.STARTING


def test_a_container_that_should_run_on_may_not_end_well_either() -> None:
    answer = verdict_of_pod(pod(containers=[ended("gateway", 0)]))
    assert answer.message == "container gateway ended with exit code 0"


def test_an_init_container_that_has_done_its_work_is_no_trouble() -> None:
    assert verdict_of_pod(pod(init=[ended("repository", 0)])).reason is Reason.STARTING


def test_killed_for_memory_shows_limit_and_plan_side_by_side() -> None:
    killed = end(137, reason="OOMKilled")
    answer = verdict_of_pod(pod(containers=[waiting("triton", "CrashLoopBackOff", last=killed)]))
    assert answer.reason is Reason.OUT_OF_MEMORY
    assert answer.message == (
        "container triton was killed for memory at its limit of 2.00 GiB; the plan counts weights 0.24 + KV"
        " cache 0.12 + overhead 0.25 of 2.00 GiB in the triton container, and 2.00 GiB of host memory; raise"
        " hardware.memory, or lower model.contextLength or capacity.maxConcurrentRequests"
    )


def test_a_missing_secret_is_told_in_the_kubelets_words() -> None:
    answer = verdict_of_pod(
        pod(containers=[waiting("gateway", "CreateContainerConfigError", 'secret "keys" not found')])
    )
    assert answer == Verdict.false(Reason.CONTAINER_REFUSED, 'container gateway: secret "keys" not found')


def test_a_volume_that_does_not_mount_is_told_by_its_event() -> None:
    stuck = pod(init=[waiting("repository", "PodInitializing")])
    events = [
        warning(stuck, "FailedMount", "older", at=EARLIER),
        warning(stuck, "FailedAttachVolume", "Multi-Attach error for volume x", at=NOW),
    ]
    answer = verdict_of_pod(stuck, *events)
    assert answer.reason is Reason.VOLUME_UNAVAILABLE
    assert "Multi-Attach error" in answer.message


def test_a_mount_that_came_right_is_history_once_a_container_runs() -> None:
    fetching = pod(init=[running("weights")], containers=[waiting("triton", "PodInitializing")])
    assert verdict_of_pod(fetching, warning(fetching, "FailedMount", "slow")).reason is Reason.STARTING


def test_a_pod_without_a_network_is_told_by_its_event() -> None:
    stuck = pod(init=[waiting("repository", "PodInitializing")])
    answer = verdict_of_pod(
        stuck, warning(stuck, "FailedCreatePodSandBox", "plugin bridge failed: no addresses")
    )
    assert answer.reason is Reason.CONTAINER_REFUSED
    assert "no addresses" in answer.message


def test_a_back_off_that_is_told_elsewhere_is_not_taken_for_a_volume() -> None:
    stuck = pod(
        init=[waiting("weights", "CrashLoopBackOff", last=end(1, "{}"))],
        containers=[waiting("triton", "PodInitializing")],
    )
    assert verdict_of_pod(stuck, warning(stuck, "BackOff", "Back-off restarting")).reason is Reason.STARTING


def test_an_eviction_is_told_in_the_kubelets_words() -> None:
    answer = verdict_of_pod(
        pod(phase="Failed", reason="Evicted", message="The node was low on: ephemeral-storage")
    )
    assert answer.reason is Reason.EVICTED
    assert "low on: ephemeral-storage" in answer.message


def test_refused_pods_are_told_in_the_api_servers_words() -> None:
    words = 'pods "x" is forbidden: exceeded quota: gpus'
    failure = {**condition("ReplicaFailure", "True", words), "reason": "FailedCreate"}
    assert verdict(deployment(conditions=[failure])) == Verdict.false(Reason.PODS_REJECTED, words)
    assert verdict(deployment(), replica_set(conditions=[failure])).reason is Reason.PODS_REJECTED


def test_a_rollout_past_its_deadline() -> None:
    stalled = condition("Progressing", "False", "ReplicaSet x has timed out progressing.")
    assert (
        verdict(deployment(replicas=1, updatedReplicas=1, conditions=[stalled])).reason
        is Reason.START_TIMEOUT
    )


def test_trouble_of_new_pods_does_not_hide_that_old_ones_serve() -> None:
    answer = verdict(
        deployment(replicas=2, updatedReplicas=1, readyReplicas=1),
        replica_set(),
        pod(containers=[waiting("triton", "CrashLoopBackOff", last=end(1, "boom"))]),
    )
    assert answer.message.endswith("boom (1 of 1 replica serve meanwhile)")


def test_old_pods_and_leaving_pods_have_no_say() -> None:
    broken = {"containers": [waiting("triton", "CrashLoopBackOff", last=end(1, "boom"))]}
    old = pod("assistant-old-a", "old", **broken)
    leaving = pod("assistant-new-b", **broken)
    leaving["metadata"]["deletionTimestamp"] = NOW
    answer = verdict(
        deployment(replicas=2, updatedReplicas=1), replica_set("old", 1), replica_set(), old, leaving, pod()
    )
    assert answer.reason is Reason.UPDATING


def test_the_children_of_others_are_not_looked_at() -> None:
    foreign = deployment(owner_uid="somebody")
    stray = pod(owner="replicaset-of-somebody", containers=[waiting("triton", "ImagePullBackOff", "x")])
    assert observe(OWNER, [foreign, replica_set(), stray]).deployment is None
    assert observe(OWNER, [deployment(), replica_set(), stray]).pods == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"suspend": True}, "suspend is true"), ({"replicas": 0}, "replicas is 0")],
)
def test_nothing_wanted(fields: dict[str, Any], words: str) -> None:
    answer = verdict(deployment(desired=0), **fields)
    assert answer.reason is Reason.SUSPENDED
    assert words in answer.message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        (
            "E model.cc] Internal: KeyError: 'x'\nI server.cc] +--+\n"
            "error: creating server: Internal - failed to load all models\n",
            "E model.cc] Internal: KeyError: 'x'",
        ),
        (
            "error: creating server: Internal - failed to load all models",
            "error: creating server: Internal - failed to load all models",
        ),
    ],
)
def test_the_line_that_explains(text: str, line: str) -> None:
    assert last_line(text) == line


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.20 GiB free",
        "[TensorRT-LLM][ERROR] CUDA runtime error in cudaMallocAsync: cudaErrorMemoryAllocation",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "ValueError: To serve at least one request (9.1 GiB KV cache is needed, which is larger than the"
        " available KV cache memory (7.4 GiB)",
    ],
    ids=["torch", "tensorrt-llm", "vllm-none", "vllm-short"],
)
def test_a_full_accelerator_is_told_from_a_crash_and_from_full_host_memory(line: str) -> None:
    log = f"Traceback (most recent call last):\n{line}\nerror: creating server: failed to load all models"
    crashing = pod(
        containers=[waiting("triton", "CrashLoopBackOff", last=end(1, log))],
        init=[],
    )
    children = [deployment(desired=1, replicas=1, updatedReplicas=1), replica_set(), crashing]
    verdict = pods_verdict(spec_of(), GPU_PLAN, observe(OWNER, children))
    assert verdict.reason is Reason.OUT_OF_MEMORY
    assert line in verdict.message
    assert "on each accelerator" in verdict.message
    assert "raise hardware.count, or lower model.contextLength" in verdict.message
    assert "hardware.memory" not in verdict.message


@pytest.mark.parametrize(
    ("message", "reason", "hint"),
    [
        (
            "Node scale up in zones us-central1-a failed: GCE quota exceeded. Pod is at risk",
            Reason.QUOTA_EXCEEDED,
            "ask for more of that quota",
        ),
        (
            "Node scale up failed: gpu type nvidia-l5 is not supported",
            Reason.ACCELERATOR_NOT_PROVISIONABLE,
            "check that a node pool",
        ),
    ],
    ids=["quota", "unsupported"],
)
def test_fo_11_why_no_node_was_added(message: str, reason: Reason, hint: str) -> None:
    pending = pod(conditions=[unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")])
    answer = verdict_of_pod(pending, warning(pending, "FailedScaleUp", message))
    assert answer.reason is reason
    for part in (message, hint, "3 Insufficient nvidia.com/gpu"):
        assert part in answer.message


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (
            "pod didn't trigger scale-up: 2 node(s) didn't match Pod's node affinity/selector",
            "check that a node",
        ),
        ("pod didn't trigger scale-up: 3 max node group size reached", "raise the maximum of that node pool"),
    ],
    ids=["no pool", "at its maximum"],
)
def test_fo_11_why_no_node_was_tried(message: str, hint: str) -> None:
    pending = pod(conditions=[unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")])
    answer = verdict_of_pod(pending, warning(pending, "NotTriggerScaleUp", message))
    assert answer.reason is Reason.ACCELERATOR_NOT_PROVISIONABLE
    for part in (message, hint, "3 Insufficient nvidia.com/gpu"):
        assert part in answer.message


def test_fo_11_a_node_that_is_being_added_is_told_and_blames_nobody() -> None:
    pending = pod(conditions=[unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")])
    refused = warning(pending, "NotTriggerScaleUp", "1 max node group size reached", at=EARLIER)
    answer = verdict_of_pod(pending, refused, warning(pending, "TriggeredScaleUp", "l4-pool 0->1 (max: 4)"))
    assert answer.reason is Reason.UNSCHEDULABLE
    assert "a node is being added (l4-pool 0->1 (max: 4))" in answer.message


def test_fo_11_backing_off_after_a_failure_does_not_hide_the_failure() -> None:
    pending = pod(conditions=[unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")])
    failed = warning(pending, "FailedScaleUp", "GCE quota exceeded", at=EARLIER)
    echo = "pod didn't trigger scale-up: 1 in backoff after failed scale-up"
    answer = verdict_of_pod(pending, failed, warning(pending, "NotTriggerScaleUp", echo))
    assert answer.reason is Reason.QUOTA_EXCEEDED


L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}


def node(name: str = "gpu-1", labels: Manifest = L4, **allocatable: str) -> Manifest:
    return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}}


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (node(cpu="8"), Reason.GPU_DRIVER_MISSING),
        (node(**{"nvidia.com/gpu": "0"}), Reason.GPU_DRIVER_MISSING),
        (node(**{"nvidia.com/gpu": "1"}), Reason.UNSCHEDULABLE),
        (node(labels={}, cpu="8"), Reason.UNSCHEDULABLE),
    ],
    ids=["no device plugin", "no healthy device", "taken", "another kind of node"],
)
def test_fo_11_a_node_with_the_label_and_no_accelerator_lacks_its_driver(
    there: Manifest, reason: Reason
) -> None:
    container = {"name": "triton", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pending = pod(
        conditions=[unscheduled("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")],
        spec={"nodeSelector": L4, "containers": [container]},
    )
    trouble = trouble_of(pending, "serving", None, [there])
    assert trouble is not None
    assert trouble.reason is reason
    assert ("gpu-1" in trouble.message) is (reason is Reason.GPU_DRIVER_MISSING)


def test_fo_11_a_pod_whose_device_went_before_it_started_lacks_its_driver() -> None:
    message = (
        "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu"
    )
    answer = verdict_of_pod(pod(phase="Failed", reason="UnexpectedAdmissionError", message=message))
    assert answer.reason is Reason.GPU_DRIVER_MISSING
    assert message in answer.message


def test_of_a_container_that_a_probe_ended_it_is_told_what_the_probe_saw() -> None:
    saw = "Liveness probe failed: HTTP probe failed with statuscode: 503"
    crashed = pod(containers=[waiting("triton", "CrashLoopBackOff", last=end(137))])
    answer = verdict_of_pod(crashed, warning(crashed, "Unhealthy", saw))
    assert answer.reason is Reason.CRASH_LOOP
    assert saw in answer.message


def test_a_probe_that_fails_while_the_model_loads_is_no_trouble() -> None:
    loading = pod(containers=[running("triton"), running("gateway")])
    answer = verdict_of_pod(loading, warning(loading, "Unhealthy", "Startup probe failed: 503"))
    assert answer.reason is Reason.STARTING


def test_fo_11_a_scale_up_that_failed_before_the_pod_had_a_node_is_forgotten() -> None:
    placed = pod()
    answer = verdict_of_pod(placed, warning(placed, "FailedScaleUp", "quota"))
    assert answer.reason is Reason.STARTING
