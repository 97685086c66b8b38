"""LoRA adapters in plans: memory, files, and the engines that serve them."""

from typing import Any

import pytest

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.planning.plan import AdapterRoom
from support.planning import planned, refused, spec


def adapter(name: str, rank: int = 16) -> dict[str, Any]:
    return {"name": name, "rank": rank, "source": {"huggingFace": {"repository": f"team/{name}"}}}


def wanting(variant: str, *adapters: dict[str, Any], **groups: dict[str, Any]) -> Any:
    return spec(variant, model={"adapters": list(adapters)}, **groups)


ON_L4 = {"hardware": {"accelerator": "nvidia-l4"}}


def test_memory_of_adapters_is_taken_from_the_cache() -> None:
    plain = planned(wanting("gemma-3-4b-it", **ON_L4))
    adapted = planned(wanting("gemma-3-4b-it", *(adapter(f"a{n}", 64) for n in range(8)), **ON_L4))
    assert adapted.memory.overhead_bytes > plain.memory.overhead_bytes
    assert adapted.max_concurrent_requests < plain.max_concurrent_requests


def test_order_in_the_spec_changes_nothing() -> None:
    one, other = adapter("one"), adapter("other")
    assert planned(wanting("gemma-3-4b-it", one, other, **ON_L4)) == planned(
        wanting("gemma-3-4b-it", other, one, **ON_L4)
    )


def test_peft_folder_is_fetched_whatever_the_engine() -> None:
    for variant, hardware in (
        ("gemma-3-4b-it", ON_L4),
        ("gemma-3-270m", {"hardware": {"accelerator": "cpu"}}),
    ):
        (plan,) = planned(wanting(variant, adapter("legal"), **hardware)).adapters
        assert plan.weights.files == ("adapter_config.json", "adapter_model.safetensors")


def test_auto_takes_vllm_where_tensorrt_llm_would_do_without_adapters() -> None:
    hardware = {"hardware": {"accelerator": "nvidia-h100-80gb"}, "model": {"precision": "BF16"}}
    plan = planned(spec("gemma-3-27b-it", **{**hardware, "model": {"adapters": [adapter("legal")]}}))
    assert plan.engine is EngineName.VLLM


@pytest.mark.parametrize(
    ("variant", "engine"), [("gemma-3-27b-it", "TensorRTLLM"), ("gemma-3n-e4b-it", "VLLM")]
)
def test_engine_that_cannot_serve_adapters_is_refused_with_the_way_out(variant: str, engine: str) -> None:
    hardware = {"accelerator": "nvidia-h100-80gb"}
    refusal = refused(wanting(variant, adapter("legal"), hardware=hardware, engine={"name": engine}))
    assert refusal.reason is Reason.UNSUPPORTED_ENGINE
    assert "leave the adapters out" in refusal.message


def test_cpu_counts_adapters_in_host_memory() -> None:
    on_cpu = {"hardware": {"accelerator": "cpu"}}
    plain, adapted = (
        planned(wanting("gemma-3-270m", *adapters, **on_cpu)) for adapters in ((), (adapter("legal", 512),))
    )
    assert adapted.memory.overhead_bytes > plain.memory.overhead_bytes


def test_slots_keep_room_that_adapters_then_fill() -> None:
    slots = {"adapterSlots": {"count": 4, "rank": 32}}
    empty, filled, plain = (
        planned(spec("gemma-3-4b-it", model={"adapters": adapters, **slots_given}, **ON_L4))
        for adapters, slots_given in (
            ([], slots),
            ([adapter("legal"), adapter("law", 32)], slots),
            ([], {}),
        )
    )
    assert empty.memory == filled.memory != plain.memory
    assert empty.adapter_room == filled.adapter_room == AdapterRoom(4, 32)
    assert plain.adapter_room is None
    assert "4 adapters of rank 32 or less come and go without new pods" in empty.explanations


def test_adapters_beyond_the_slots_widen_them() -> None:
    given = [adapter(f"a{n}", 64) for n in range(3)]
    plan = planned(spec("gemma-3-4b-it", model={"adapters": given, "adapterSlots": {"count": 2}}, **ON_L4))
    assert plan.adapter_room == AdapterRoom(3, 64)


def test_engine_that_loads_adapters_at_start_only_says_so() -> None:
    plan = planned(spec("gemma-3-270m", model={"adapterSlots": {}}, hardware={"accelerator": "cpu"}))
    assert plan.adapter_room is None
    assert any("loads adapters at start only" in sentence for sentence in plan.explanations)
