"""Engine arguments, the plan's and the spec's, against what each engine version knows."""

import json
from pathlib import Path
from typing import Any

import pytest

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, MediaSpec
from gemma_operator.catalog.hardware_rows import EngineVersion
from gemma_operator.planning.plan import Plan
from gemma_operator.settings import PlanningSettings
from support.planning import CATALOG, answer, planned, refused, spec

SURFACE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "support" / "tensorrt_llm_surface.json").read_text()
)
VARIANTS = (
    "gemma-2b-it",
    "gemma-2-9b-it",
    "gemma-3-1b-it",
    "gemma-3-27b-it",
    "gemma-3n-e4b-it",
    "gemma-4-31b-it",
)
KNOWN_VERSIONS = [row for row in CATALOG.engines if (row.engine, row.version) in CATALOG.known_arguments]
GPU_VERSIONS = [row for row in KNOWN_VERSIONS if row.engine is not EngineName.LLAMA_CPP]


def plans_on(version: EngineVersion) -> list[Plan]:
    settings = PlanningSettings(require_token=False, gpu_image_tags={version.engine.value: version.tag})
    answers = [
        answer(
            spec(variant, engine={"name": version.engine.value}, hardware={"accelerator": accelerator}),
            settings=settings,
        )
        for variant in VARIANTS
        for accelerator in ("nvidia-l4", "nvidia-h100-80gb", "nvidia-b200")
    ]
    return [plan for plan in answers if isinstance(plan, Plan)]


def with_arguments(engine: str = "VLLM", *, image: str | None = None, **arguments: Any) -> Any:
    wanted: dict[str, Any] = {"name": engine, "arguments": arguments}
    accelerator = "cpu" if engine == "LlamaCpp" else "nvidia-h100-80gb"
    wanted |= {"image": image} if image else {}
    return spec("gemma-3-1b-it", engine=wanted, hardware={"accelerator": accelerator})


def test_every_version_in_the_catalogue_of_an_engine_that_is_rendered_by_default_is_on_record() -> None:
    defaults = {(row.engine, row.version) for row in CATALOG.engines if row.default}
    assert defaults <= set(CATALOG.known_arguments)
    assert {"0.24.0", "0.27.1", "0.33.0"} <= {v for e, v in CATALOG.known_arguments if e is EngineName.VLLM}


@pytest.mark.parametrize("version", GPU_VERSIONS, ids=lambda row: f"{row.engine.value}-{row.version}")
def test_every_rendered_argument_is_known_to_its_version(version: EngineVersion) -> None:
    plans = plans_on(version)
    assert plans, "the version serves something"
    known = CATALOG.known_arguments[version.engine, version.version]
    for plan in plans:
        assert plan.engine_version == version.version
        assert set(plan.engine_arguments) <= known


@pytest.mark.parametrize("version", GPU_VERSIONS, ids=lambda row: f"{row.engine.value}-{row.version}")
def test_defaults_that_hurt_are_always_rendered(version: EngineVersion) -> None:
    hurting = {
        EngineName.VLLM: {
            "gpu_memory_utilization",
            "max_num_seqs",
            "max_num_batched_tokens",
            "max_model_len",
        },
        EngineName.TENSORRT_LLM: {"max_batch_size", "max_num_tokens", "max_seq_len", "kv_cache_config"},
    }
    for plan in plans_on(version):
        assert hurting[version.engine] <= set(plan.engine_arguments)
        if "image" in plan.modalities:
            assert plan.engine_arguments["limit_mm_per_prompt"]["image"] == MediaSpec().max_items


def test_tensorrt_llm_cache_settings_match_the_field_table() -> None:
    checks = {
        "boolean": lambda value: isinstance(value, bool),
        "integer": lambda value: isinstance(value, int),
        "fraction": lambda value: 0 <= value <= 1,
        "string": lambda value: isinstance(value, str),
        "positive integers": lambda value: bool(value) and all(isinstance(v, int) and v > 0 for v in value),
    }
    fields = SURFACE["kv_cache_config"]["1.2.1"]
    (version,) = [row for row in GPU_VERSIONS if row.engine is EngineName.TENSORRT_LLM]
    for plan in plans_on(version):
        for name, value in plan.engine_arguments["kv_cache_config"].items():
            assert checks[fields[name]](value), (name, value)


def test_tables_of_the_double_and_of_the_catalogue_agree() -> None:
    arguments = SURFACE["llm_arguments"]
    old = CATALOG.known_arguments[EngineName.TENSORRT_LLM, "1.2.1"]
    new = CATALOG.known_arguments[EngineName.TENSORRT_LLM, "1.4.0rc0"]
    assert old == set(arguments["1.2.1"])
    assert new - old == set(arguments["added_by_1.4.0rc0"])
    assert old - new == set(arguments["removed_by_1.4.0rc0"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"enforce_eagr": True},
            "VLLM 0.24.0 has no argument enforce_eagr; the nearest it has is enforce_eager",
        ),
        ({"max_num_queued_reqs": 4}, "VLLM 0.24.0 has no argument max_num_queued_reqs"),
        ({"max_model_len": 4096}, "max_model_len is the plan's; set model.contextLength instead"),
        ({"gpu_memory_utilization": 0.95}, "gpu_memory_utilization is the plan's; leave it out"),
        ({"trust_remote_code": True}, "trust_remote_code would run code"),
    ],
)
def test_argument_that_cannot_be_passed_is_refused_by_name(arguments: dict[str, Any], words: str) -> None:
    refusal = refused(with_arguments(**arguments))
    assert refusal.reason is Reason.ARGUMENT_REFUSED
    assert words in refusal.message


def test_argument_that_the_version_knows_reaches_the_engine() -> None:
    assert planned(with_arguments(enforce_eager=True)).engine_arguments["enforce_eager"] is True


def test_own_image_tells_its_engine_version_by_its_tag() -> None:
    image = "registry.example/tritonserver:26.08-vllm-python-py3"
    plan = planned(with_arguments(image=image, max_num_scheduled_tokens=2048))
    assert (plan.image, plan.engine_version) == (image, "0.27.1")
    assert any("the plan assumes that it holds VLLM 0.27.1" in sentence for sentence in plan.explanations)
    refused(with_arguments(image=image, max_num_partial_prefills=2))


def test_version_without_a_record_takes_no_arguments_and_says_which_do() -> None:
    image = "registry.example/tritonserver:26.03-trtllm-python-py3"
    refusal = refused(with_arguments("TensorRTLLM", image=image, stream_interval=2))
    assert "which arguments TensorRTLLM 1.2.0 knows is not on record" in refusal.message
    assert "1.2.1" in refusal.message
