"""What doctor and status make of what they saw."""

from typing import Any

import pytest
from rich.console import Console

from gemma_operator.api.manifest import Manifest
from gemma_operator.catalog import load_catalog
from gemma_operator.cli.findings import (
    Level,
    back_end_findings,
    driver_findings,
    node_findings,
    permission_findings,
    pod_findings,
    schema_finding,
    secret_findings,
    storage_findings,
)
from gemma_operator.cli.status import status_table
from gemma_operator.status.fleet import fleet_lines

CATALOG = load_catalog()


def node(gpus: str | None, **labels: str) -> Manifest:
    allocatable = {"cpu": "8", "memory": "32Gi", **({} if gpus is None else {"nvidia.com/gpu": gpus})}
    return {"metadata": {"name": "a", "labels": labels}, "status": {"allocatable": allocatable}}


def resource(name: str, ready: str, spec: dict[str, Any] | None = None, **status: Any) -> Manifest:
    conditions = [{"type": "Ready", "status": ready, "reason": "Ready" if ready == "True" else "Fetching"}]
    return {
        "metadata": {"name": name, "namespace": "chat", "generation": 2},
        "spec": {"model": {"variant": "gemma-3-270m"}, **(spec or {})},
        "status": {"conditions": conditions, "observedGeneration": 2, "summary": f"{name}.", **status},
    }


def test_an_old_crd_is_told_with_what_it_drops() -> None:
    found = schema_finding(["spec.safety", *(f"status.f{number}" for number in range(9))])
    assert found.level is Level.BAD
    assert "spec.safety" in found.message
    assert "and 5 more" in found.message
    assert "no GemmaDeployment is changed" in found.message


def test_each_missing_permission_is_a_line() -> None:
    assert [f.message for f in permission_findings("ns/operator", ["patch pods", "list nodes"])] == [
        "ns/operator may not patch pods",
        "ns/operator may not list nodes",
    ]
    assert permission_findings("you", [])[0].level is Level.OK


def test_accelerators_are_those_that_planning_sees() -> None:
    (found,) = node_findings([node("2", **{"nvidia.com/gpu.product": "NVIDIA-L4"})], CATALOG)
    assert (found.level, found.message) == (Level.OK, "2x nvidia-l4")


def test_a_gpu_node_without_allocatable_gpus_is_bad() -> None:
    none, silent = node_findings([node(None, **{"nvidia.com/gpu.product": "NVIDIA-L4"})], CATALOG)
    assert (none.level, silent.level) == (Level.NOTE, Level.BAD)
    assert "driver" in silent.message


@pytest.mark.parametrize(
    "labels",
    [
        {"nvidia.com/cuda.driver-version.full": "550.54.15"},
        {"nvidia.com/cuda.driver.major": "550", "nvidia.com/cuda.driver.minor": "54"},
    ],
    ids=["one label", "a label for each part"],
)
def test_a_driver_older_than_an_image_asks_for_is_told_with_both(labels: dict[str, str]) -> None:
    found = driver_findings([node("1", **labels)], CATALOG)
    assert {finding.level for finding in found} == {Level.NOTE}
    assert any("a has 550.54" in f.message and "asks for 610.43" in f.message for f in found)


def test_a_new_driver_and_a_node_that_tells_none_are_not_mentioned() -> None:
    new = node("1", **{"nvidia.com/cuda.driver-version.full": "999.1"})
    assert driver_findings([new, node("1"), node(None)], CATALOG) == []


def test_back_ends_are_listed_whether_or_not_they_are_there() -> None:
    found = {f.subject: f.level for f in back_end_findings(["keda.sh", "apps"])}
    assert found["keda.sh"] is Level.OK
    assert found["custom.metrics.k8s.io"] is Level.NOTE


@pytest.mark.parametrize(
    ("classes", "level"),
    [
        ([], Level.NOTE),
        ([{"metadata": {"name": "a"}}], Level.NOTE),
        (
            [
                {
                    "metadata": {
                        "name": "a",
                        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                    }
                }
            ],
            Level.OK,
        ),
    ],
    ids=["none", "no-default", "default"],
)
def test_a_cache_needs_a_default_class(classes: list[Manifest], level: Level) -> None:
    assert [f.level for f in storage_findings(classes)] == [level]


def test_a_secret_that_is_named_and_missing_is_told_with_its_user() -> None:
    hub = {"model": {"source": {"huggingFace": {"tokenSecretRef": {"name": "hub"}}}}}
    asking = resource("a", "True", {**hub, "access": {"apiKeysSecretRef": {"name": "keys"}}})
    (found,) = secret_findings([asking], [("chat", "keys")])
    assert found.message == "chat/hub, which a names, does not exist"
    assert secret_findings([asking], [("chat", "keys"), ("chat", "hub")])[0].level is Level.OK


def test_the_secret_of_a_store_is_looked_for_too() -> None:
    store = {"source": {"s3": {"uri": "s3://models", "credentialsSecretRef": {"name": "store"}}}}
    asking = resource("a", "True", {"model": {"adapters": [{"name": "b", **store}]}})
    (found,) = secret_findings([asking], [])
    assert found.message == "chat/store, which a names, does not exist"


def test_an_image_that_cannot_be_pulled_is_told() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such tag"}
    pod = {
        "metadata": {"name": "a-1", "namespace": "chat"},
        "status": {"containerStatuses": [{"name": "triton", "state": {"waiting": waiting}}]},
    }
    (found,) = pod_findings([pod])
    assert found.level is Level.BAD
    assert "ImagePullFailed" in found.message
    assert pod_findings([])[0].level is Level.OK


def shown(*resources: Manifest) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(status_table(fleet_lines(resources)))
    return captured.get()


def test_what_is_not_ready_comes_first_with_its_progress() -> None:
    loading = resource("z", "False", weights={"bytesDone": 25, "bytesTotal": 100})
    text = shown(resource("a", "True"), loading)
    assert "1 of 2 endpoints are ready" in text
    assert text.index("chat/z") < text.index("chat/a")
    assert "25%" in text


def test_an_edit_that_nobody_looked_at_is_told() -> None:
    assert "not looked at yet" in shown(resource("a", "True", observedGeneration=1))


def test_an_endpoint_without_a_status_is_shown() -> None:
    bare = {"metadata": {"name": "a", "namespace": "chat", "generation": 1}, "spec": {}}
    assert "No operator has looked at it yet." in shown(bare)
