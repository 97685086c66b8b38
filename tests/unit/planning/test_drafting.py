"""Drafters in plans: which variants and engines have them, what they cost, where they come from."""

from typing import Any

import pytest

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.planning.origin import HubOrigin
from support.planning import CATALOG, planned, refused, spec

ON_H100 = {"hardware": {"accelerator": "nvidia-h100-80gb"}}
DRAFTED = [key for key, row in CATALOG.variants.items() if row.drafter is not None]


def drafting(variant: str, engine: dict[str, Any] | None = None, **groups: Any) -> Any:
    return spec(variant, engine={"drafter": {}, **(engine or {})}, **{**ON_H100, **groups})


@pytest.mark.parametrize("variant", DRAFTED)
def test_a_variant_with_a_drafter_gets_its_own_from_the_catalogue(variant: str) -> None:
    plan = planned(drafting(variant))
    assert plan.engine is EngineName.VLLM
    assert plan.drafter is not None
    assert (plan.drafter.weights.origin.source, plan.drafter.tokens) == (
        f"{CATALOG.variants[variant].repository}-assistant",
        4,
    )
    assert plan.drafter.weights in plan.fetched


def test_a_drafters_weights_are_taken_from_the_cache() -> None:
    plain, drafted = (planned(drafting("gemma-4-31b-it", {"drafter": asked})) for asked in (None, {}))
    assert plain.drafter is None
    assert drafted.memory.overhead_bytes - plain.memory.overhead_bytes >= 2 * 469_518_596
    assert drafted.outlook is not None
    assert "drafter" in {term.name for term in drafted.outlook.terms}
    assert drafted.max_concurrent_requests <= plain.max_concurrent_requests


def test_a_fine_tuned_drafter_comes_from_the_models_hub_with_its_token() -> None:
    source = {
        "repository": "team/gemma-4-e4b-legal",
        "endpoint": "https://hub.example",
        "tokenSecretRef": {"name": "hub"},
    }
    plan = planned(
        drafting(
            "gemma-4-e4b-it",
            {"drafter": {"repository": "team/drafter", "revision": "v2", "tokens": 2}},
            model={"source": {"huggingFace": source}},
        )
    )
    assert plan.drafter is not None
    hub = HubOrigin("team/drafter", "v2", "https://hub.example", "hub", "token")
    assert (plan.drafter.weights.origin, plan.drafter.tokens) == (hub, 2)


def test_a_variant_without_a_drafter_is_refused_with_those_that_have_one() -> None:
    refusal = refused(drafting("gemma-3-4b-it"))
    assert refusal.reason is Reason.UNSUPPORTED_ENGINE
    assert "gemma-3-4b-it has no drafter" in refusal.message
    assert "gemma-4-31b-it" in refusal.message


@pytest.mark.parametrize(
    ("engine", "hardware"),
    [
        ({"name": "VLLM", "image": "nvcr.io/nvidia/tritonserver:26.05-vllm-python-py3"}, ON_H100["hardware"]),
        ({"name": "LlamaCpp"}, {"accelerator": "cpu", "memory": "32Gi"}),
    ],
    ids=["vLLM 0.19", "llama.cpp"],
)
def test_an_engine_without_drafters_is_refused_with_the_way_out(
    engine: dict[str, Any], hardware: dict[str, Any]
) -> None:
    refusal = refused(drafting("gemma-4-e2b-it", engine, hardware=hardware))
    assert refusal.reason is Reason.UNSUPPORTED_ENGINE
    assert "leave engine.drafter out" in refusal.message


def test_two_ways_of_drafting_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="both draft"):
        drafting("gemma-4-e4b-it", {"name": "VLLM", "arguments": {"speculative_config": {"method": "ngram"}}})
