"""`gemma-operator verify-gpu`: the plan beside a report."""

import json
from pathlib import Path
from typing import Any

import pytest

from gemma_operator.__main__ import main
from gemma_operator.api.read import read_spec
from gemma_operator.cli.documents import InputError, read_resources
from gemma_operator.cli.verdicts import evidence
from gemma_operator.cli.verify_endpoint import plan_in_force, startup_rows
from gemma_operator.cli.verify_gpu import compared, on_this_machine
from gemma_operator.planning.plan import Plan
from support.planning import CATALOG, planned, spec

PLAN: Plan = planned(spec("gemma-3-4b-it", hardware={"accelerator": "nvidia-l4"}))


def report(plan: Plan, **changes: Any) -> dict[str, Any]:
    """As an engine that does what was planned would leave it."""
    assert plan.outlook is not None
    as_planned = {
        "kv_total_tokens": plan.outlook.kv_tokens,
        "load_seconds": plan.predicted_load_seconds,
        "streams": 24,
        "single_tokens_per_second": plan.outlook.speed.per_request.expected,
        "total_tokens_per_second": plan.outlook.speed.total.expected,
        "checks": [{"name": "load", "passed": True, "detail": "", "seconds": 1.0}],
    }
    return {**as_planned, **changes}


def differing(**changes: Any) -> list[str]:
    return [row.name for row in compared(PLAN, report(PLAN, **changes)) if not row.is_met]


def test_engine_as_planned_meets_every_row_and_is_evidence() -> None:
    rows = compared(PLAN, report(PLAN))
    assert all(row.is_met for row in rows)
    proof = evidence(PLAN, report(PLAN), rows)
    assert (proof["status"], proof["accelerator"], proof["version"]) == ("verified", "nvidia-l4", "0.24.0")


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"kv_total_tokens": 1000}, "KV cache, tokens"),
        ({"load_seconds": 10_000.0}, "load, seconds"),
        ({"single_tokens_per_second": 0.1}, "tokens per second, each"),
    ],
)
def test_figure_outside_the_plans_band_differs(changes: dict[str, Any], row: str) -> None:
    assert differing(**changes) == [row]


def test_failed_load_leaves_its_reason_and_no_figures() -> None:
    failed = [{"name": "load", "passed": False, "detail": "CUDA out of memory", "seconds": 9.0}]
    (row,) = compared(PLAN, report(PLAN, checks=failed))
    assert (row.is_met, row.measured) == (False, "CUDA out of memory")


def test_dummy_weights_change_the_load_format_and_nothing_else() -> None:
    config = {"weights_path": "/weights/x", "engine_arguments": {"max_num_seqs": 4}, "adapters": {"a": "/a"}}
    changed = on_this_machine(config, "/models/here", True)
    assert changed["engine_arguments"] == {"max_num_seqs": 4, "load_format": "dummy"}
    assert (changed["weights_path"], changed["adapters"]) == ("/models/here", {})


def test_machine_without_the_engine_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--variant", "gemma-3-4b-it", "--accelerator", "nvidia-l4", "--weights", "/nowhere"]
    assert main(["verify-gpu", *arguments]) == 2
    assert "vllm" in capsys.readouterr().err


def test_real_llamacpp_with_the_real_gemma_keeps_every_promise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from support.triton_runtime import gemma_270m  # noqa: PLC0415  # fetches weights when first used

    arguments = ["--variant", "gemma-3-270m", "--accelerator", "cpu", "--context", "512"]
    main(["verify-gpu", *arguments, "--weights", str(gemma_270m()), "--output", "json"])
    answer = json.loads(capsys.readouterr().out)
    assert all(check["passed"] for check in answer["report"]["checks"])
    (cache,) = [row for row in answer["rows"] if row["name"] == "KV cache, tokens"]
    assert cache["is_met"], "the plan's cache is the engine's, on any machine"


SHAPES = sorted((Path(__file__).parents[2] / "data" / "shapes").glob("*.yaml"))


def told(plan: Plan) -> dict[str, Any]:
    """What `status.plan` says of the choices, as far as the command reads it."""
    return {
        "engine": plan.engine.value,
        "engineVersion": plan.engine_version,
        "image": plan.image,
        "accelerator": plan.accelerator,
        "count": plan.count,
        "precision": plan.precision.value,
        "contextLength": plan.context_length,
        "maxConcurrentRequests": plan.max_concurrent_requests,
    }


@pytest.mark.parametrize("shape", SHAPES, ids=lambda path: path.stem)
def test_plan_in_force_is_found_again_from_the_status(shape: Path) -> None:
    (resource,) = read_resources(str(shape))
    plan = planned(read_spec(resource, strict=True))
    again = plan_in_force({**resource, "status": {"plan": told(plan)}}, [], CATALOG)
    assert told(again) == told(plan)
    assert again.outlook == plan.outlook


def test_endpoint_without_a_plan_has_nothing_to_be_held_against() -> None:
    (resource,) = read_resources(str(SHAPES[0]))
    with pytest.raises(InputError, match="has no plan"):
        plan_in_force(resource, [], CATALOG)


def test_startup_is_judged_where_it_was_predicted_and_observed() -> None:
    phases = [
        {"phase": "Scheduled", "seconds": 4},
        {"phase": "Weights", "predictedSeconds": 10, "seconds": 31},
        {"phase": "Serving", "predictedSeconds": 20, "seconds": 25},
    ]
    rows = startup_rows({"startup": phases})
    assert [(row.name, row.is_met) for row in rows] == [
        ("start, Weights, seconds", False),
        ("start, Serving, seconds", True),
    ]


@pytest.mark.parametrize("target", [[], ["-"], [str(SHAPES[0])]], ids=["nothing", "standard input", "a file"])
def test_file_without_weights_says_both_ways(target: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-gpu", *target]) == 2
    error = capsys.readouterr().err
    assert "NAME of a GemmaDeployment" in error
    assert "--weights" in error


def test_endpoint_without_a_cluster_is_told_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["verify-gpu", "assistant"]) == 2
    assert "KUBECONFIG" in capsys.readouterr().err
