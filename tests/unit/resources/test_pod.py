import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemma_operator.api.quantity import parse_bytes
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.deployment import deployment, progress_deadline_seconds
from gemma_operator.resources.job import weights_job
from gemma_operator.resources.pod import serving_pod
from gemma_operator.resources.probes import (
    LONGEST_BUDGET_SECONDS,
    SHORTEST_BUDGET_SECONDS,
    startup_budget_seconds,
    termination_grace_seconds,
    waiting_script,
)
from gemma_operator.settings import parse_settings
from support.plans import CLAIM_WEIGHTS, COMMIT, CPU_PLAN, GPU_PLAN, OWNER, from_origin, spec_of

SETTINGS = parse_settings("")
CACHE = {"cache": {}}


def pod(plan: Plan = CPU_PLAN, **fields: Any) -> dict[str, Any]:
    return serving_pod(OWNER, spec_of(**fields), plan, SETTINGS)


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in [*spec.get("initContainers", ()), *spec["containers"]]}


def volumes(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in spec["volumes"]}


def weights_pod(plan: Plan = CPU_PLAN) -> dict[str, Any]:
    cache = spec_of(**CACHE).cache
    assert cache is not None
    return dict(weights_job(OWNER, cache, plan, SETTINGS)["spec"]["template"]["spec"])


ALL_PODS = {
    "cpu": pod(),
    "cpu with cache": pod(**CACHE),
    "gpu": pod(GPU_PLAN),
    "own claim": pod(replace(CPU_PLAN, weights=CLAIM_WEIGHTS)),
    "weights": weights_pod(),
}
every_pod = pytest.mark.parametrize("spec", ALL_PODS.values(), ids=ALL_PODS.keys())


@every_pod
def test_every_pod_is_hardened(spec: dict[str, Any]) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


@every_pod
def test_no_scratch_volume_can_fill_a_node(spec: dict[str, Any]) -> None:
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)


@every_pod
def test_every_container_has_its_memory_and_explains_its_crash(spec: dict[str, Any]) -> None:
    for container in containers(spec).values():
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@every_pod
def test_every_mount_has_its_volume_and_every_volume_a_mount(spec: dict[str, Any]) -> None:
    mounted = {mount["name"] for c in containers(spec).values() for mount in c["volumeMounts"]}
    assert mounted == volumes(spec).keys()


@every_pod
def test_every_root_is_read_only_and_tmp_is_not(spec: dict[str, Any]) -> None:
    for container in containers(spec).values():
        (tmp,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp"]
        assert "readOnly" not in tmp


def test_triton_listens_on_loopback_only() -> None:
    triton = containers(pod())["triton"]
    assert "ports" not in triton
    addresses = [argument for argument in triton["args"] if "-address=" in argument]
    assert {argument.partition("=")[2] for argument in addresses} == {"127.0.0.1"}
    assert len(addresses) == 3


def test_the_image_keeps_its_entry_point() -> None:
    assert "command" not in containers(pod(GPU_PLAN))["triton"]


def test_the_gateway_is_the_only_door() -> None:
    ports = {port["name"]: port["containerPort"] for port in containers(pod())["gateway"]["ports"]}
    assert ports == {"http": 8080, "admin": 9090}


def test_weights_are_fetched_by_the_pod_only_without_a_cache() -> None:
    assert "weights" in containers(pod())
    assert "weights" not in containers(pod(**CACHE))
    assert "weights" not in containers(pod(replace(CPU_PLAN, weights=CLAIM_WEIGHTS)))


def test_a_pod_that_fetches_has_room_for_the_files() -> None:
    limit = volumes(pod())["weights"]["emptyDir"]["sizeLimit"]
    assert parse_bytes(limit) > CPU_PLAN.weights.size_bytes


def test_serving_pods_cannot_write_a_claim_and_hold_no_token() -> None:
    spec = pod(from_origin(CPU_PLAN, GPU_PLAN.weights.origin), **CACHE)
    assert volumes(spec)["weights"]["persistentVolumeClaim"]["readOnly"] is True
    assert "secretKeyRef" not in str(spec)


def test_the_fetcher_reads_its_token_from_the_secret() -> None:
    environment = {variable["name"]: variable for variable in containers(pod(GPU_PLAN))["weights"]["env"]}
    assert environment["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}


def test_the_fetcher_is_told_what_and_where() -> None:
    assert containers(pod(GPU_PLAN))["weights"]["args"] == [
        "--repository=google/gemma-3-27b-it",
        f"--revision={COMMIT}",
        "--endpoint=https://huggingface.co",
        "--target=/weights",
        "--file=*.safetensors",
        "--file=*.json",
    ]


def test_accelerators_are_asked_for_and_no_cpu_limit_throttles_them() -> None:
    triton = containers(pod(GPU_PLAN))["triton"]
    assert triton["resources"]["requests"]["nvidia.com/gpu"] == "4"
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert "cpu" not in triton["resources"]["limits"]


def test_a_cpu_engine_has_the_cores_its_threads_count_on() -> None:
    resources = containers(pod())["triton"]["resources"]
    assert resources["limits"]["cpu"] == resources["requests"]["cpu"] == "1"


def test_shared_memory_is_memory_of_the_planned_size() -> None:
    assert volumes(pod(GPU_PLAN))["shm"]["emptyDir"] == {"sizeLimit": "4Gi", "medium": "Memory"}


def test_disk_is_asked_for_so_that_a_node_without_it_is_not_chosen() -> None:
    assert containers(pod(GPU_PLAN))["triton"]["resources"]["requests"]["ephemeral-storage"] == "60Gi"


def test_placement_adds_the_plan_to_the_settings() -> None:
    settings = parse_settings(
        "pods: {nodeSelector: {pool: models}, tolerations: [{operator: Exists, key: models}]}"
    )
    spec = serving_pod(OWNER, spec_of(), GPU_PLAN, settings)
    assert spec["nodeSelector"] == {"pool": "models", **GPU_PLAN.node_selector}
    assert spec["tolerations"] == [{"key": "models", "operator": "Exists"}, *GPU_PLAN.tolerations]


@pytest.mark.parametrize(
    ("load_seconds", "budget"),
    [(1.0, SHORTEST_BUDGET_SECONDS), (300.0, 900), (86400.0, LONGEST_BUDGET_SECONDS)],
)
def test_startup_budget_is_three_predicted_loads_within_bounds(load_seconds: float, budget: int) -> None:
    plan = replace(CPU_PLAN, predicted_load_seconds=load_seconds)
    assert startup_budget_seconds(plan) == budget
    for name in ("triton", "gateway"):
        probe = containers(pod(plan))[name]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] == budget


def test_the_progress_deadline_leaves_the_startup_budget_alone() -> None:
    assert progress_deadline_seconds(spec_of(**CACHE), GPU_PLAN) > startup_budget_seconds(GPU_PLAN)
    own, cached = (progress_deadline_seconds(spec_of(**fields), GPU_PLAN) for fields in ({}, CACHE))
    assert own > cached, "pods that fetch for themselves take longer"


def test_liveness_of_triton_is_judged_by_the_gateway() -> None:
    assert containers(pod())["triton"]["livenessProbe"]["httpGet"] == {"path": "/enginez", "port": 9090}


def test_a_hung_engine_is_not_given_a_whole_generation_to_die() -> None:
    spec = pod()
    for name in ("triton", "gateway"):
        grace = containers(spec)[name]["livenessProbe"]["terminationGracePeriodSeconds"]
        assert grace < spec["terminationGracePeriodSeconds"]


def test_termination_outlasts_the_longest_generation() -> None:
    assert termination_grace_seconds(CPU_PLAN) > CPU_PLAN.request_timeout_seconds
    assert "/run/gemma/drained" in str(containers(pod())["triton"]["lifecycle"]["preStop"])


def waiting(drained: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", waiting_script(str(drained), port)])


def test_triton_waits_for_the_hand_shake_while_the_gateway_lives(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        process = waiting(tmp_path / "drained", gateway.getsockname()[1])
        gateway.accept()[0].close()
        gateway.accept()[0].close()
        assert process.poll() is None, "asked twice, and still waits"
        (tmp_path / "drained").touch()
        assert process.wait(timeout=30) == 0


def test_triton_does_not_wait_for_a_gateway_that_is_gone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        port = gateway.getsockname()[1]
    assert waiting(tmp_path / "drained", port).wait(timeout=30) == 0


def test_triton_stops_at_once_when_the_gateway_has_let_it_go() -> None:
    (timeout,) = [a for a in containers(pod())["triton"]["args"] if a.startswith("--exit-timeout-secs=")]
    assert (
        int(timeout.partition("=")[2])
        < termination_grace_seconds(CPU_PLAN) - CPU_PLAN.request_timeout_seconds
    )


def test_the_number_of_replicas_is_not_part_of_the_template() -> None:
    one, many = (deployment(OWNER, spec_of(replicas=count), CPU_PLAN, SETTINGS)["spec"] for count in (1, 5))
    assert one["template"] == many["template"]
    assert (one["replicas"], many["replicas"]) == (1, 5)


def test_a_changed_runtime_rolls_the_pods() -> None:
    def template(plan: Plan) -> Any:
        return deployment(OWNER, spec_of(), plan, SETTINGS)["spec"]["template"]["metadata"]["annotations"]

    assert template(CPU_PLAN) != template(replace(CPU_PLAN, context_length=4096))


def test_a_rollout_never_takes_away_what_serves() -> None:
    strategy = deployment(OWNER, spec_of(), CPU_PLAN, SETTINGS)["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_suspending_keeps_the_template_and_asks_for_no_pods() -> None:
    running = deployment(OWNER, spec_of(replicas=3), CPU_PLAN, SETTINGS)["spec"]
    suspended = deployment(OWNER, spec_of(replicas=3, suspend=True), CPU_PLAN, SETTINGS)["spec"]
    assert suspended == {**running, "replicas": 0}
