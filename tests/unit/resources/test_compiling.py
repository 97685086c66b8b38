"""Where engines keep what they compile."""

from dataclasses import replace
from typing import Any

import pytest

from gemma_operator.planning.plan import Plan
from gemma_operator.resources.compiling import CACHE_VARIABLES, compile_key
from gemma_operator.resources.pod import serving_pod
from gemma_operator.settings import parse_settings
from support.plans import CPU_PLAN, GPU_PLAN, OWNER, spec_of

CLAIM = {"engine": {"compileCache": {"claimName": "compiled"}}}


def pod(plan: Plan, **fields: Any) -> dict[str, Any]:
    return serving_pod(OWNER, spec_of(**fields), plan, parse_settings(""))


def volume(rendered: dict[str, Any]) -> dict[str, Any] | None:
    return next((one for one in rendered["volumes"] if one["name"] == "cache"), None)


def folders(rendered: dict[str, Any]) -> set[str]:
    """What the engine is told of where to keep things."""
    engine = next(c for c in rendered["containers"] if c["name"] == "triton")
    told = {one["name"]: one["value"] for one in engine["env"]}
    return {told[name].rpartition("/")[0] for name in CACHE_VARIABLES}


def test_without_a_claim_it_goes_with_the_pod() -> None:
    rendered = pod(GPU_PLAN)
    assert volume(rendered) == {"name": "cache", "emptyDir": {"sizeLimit": "10Gi"}}
    assert folders(rendered) == {"/var/cache/gemma"}


def test_in_a_claim_every_variable_points_into_the_folder_of_this_configuration() -> None:
    rendered = pod(GPU_PLAN, **CLAIM)
    assert volume(rendered) == {"name": "cache", "persistentVolumeClaim": {"claimName": "compiled"}}
    assert folders(rendered) == {f"/var/cache/gemma/{compile_key(GPU_PLAN)}"}
    engine = next(c for c in rendered["containers"] if c["name"] == "triton")
    assert {"name": "cache", "mountPath": "/var/cache/gemma"} in engine["volumeMounts"]


@pytest.mark.parametrize(
    "change",
    [
        {"image": "nvcr.io/nvidia/tritonserver:26.08-vllm-python-py3"},
        {"image": f"{GPU_PLAN.image}@sha256:{'0' * 64}"},
        {"accelerator": "nvidia-h100-80gb"},
        {"count": 2},
        {"engine_arguments": {"max_num_seqs": 7}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_image_accelerator_or_configuration_finds_nothing_of_it(change: dict[str, Any]) -> None:
    assert compile_key(replace(GPU_PLAN, **change)) != compile_key(GPU_PLAN)


def test_what_does_not_shape_kernels_keeps_them() -> None:
    same = replace(GPU_PLAN, max_queued_requests=1, request_timeout_seconds=5, predicted_load_seconds=1.0)
    assert compile_key(same) == compile_key(GPU_PLAN)


def test_llama_cpp_compiles_nothing() -> None:
    assert volume(pod(CPU_PLAN, **CLAIM)) is None
