"""The terms of the sum: what moves them, and which engine version changed them."""

from dataclasses import replace

import pytest
from tests.support.planning import CATALOG

from gemma_operator.api.quantity import GIB, MIB
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.planning.attention import attention_specs
from gemma_operator.planning.kv_cache import LlamaCppCache, TensorRTCache, VllmCache
from gemma_operator.planning.memory import (
    EngineSetup,
    captured_sizes,
    demand_of,
    largest_context,
    tokens_in_flight,
)


def setup(**changes: object) -> EngineSetup:
    base = EngineSetup(
        catalog=CATALOG,
        architecture_key="gemma-3-12b",
        scheme="bf16",
        engine=EngineName.VLLM,
        version=(0, 24, 0),
        tensor_parallel_size=1,
        device_bytes=int(79.19 * GIB),
        utilization=0.9,
        batched_tokens=2048,
        max_sequences=256,
    )
    return replace(base, **changes)


def term(name: str, **changes: object) -> int:
    demand = demand_of(setup(**changes))
    return sum(one.bytes for one in demand.overhead if one.name == name)


def test_terms_lie_within_their_bands() -> None:
    demand = demand_of(
        setup(tensor_parallel_size=2, images=True, adapters=4, adapter_rank=32, draft_bytes=GIB)
    )
    for one in (demand.weights, *demand.overhead):
        assert 0 < one.low_bytes <= one.bytes <= one.high_bytes, one.name


def test_captured_sizes_are_vllms_list() -> None:
    assert captured_sizes(512) == len([1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)])
    assert captured_sizes(8) == len([1, 2, 4, 8])


def test_fewer_sequences_need_less_sampling_memory_and_fewer_graphs() -> None:
    assert term("activations", max_sequences=4) < term("activations", max_sequences=256)
    assert term("CUDA graphs", max_sequences=4) < term("CUDA graphs", max_sequences=256)


def test_larger_steps_need_more_activations() -> None:
    assert term("activations", batched_tokens=16384) > term("activations", batched_tokens=2048)


def test_images_need_the_encoders_activations() -> None:
    assert term("activations", batched_tokens=8192, images=True) > term("activations", batched_tokens=8192)


def test_experts_keep_their_scratch_beside_every_peak() -> None:
    """4,096 tokens x 8 experts x (2816 + 2816) x 2 bytes; hidden is the wider: two ranks halve nothing."""
    mixture = {"architecture_key": "gemma-4-26b-a4b", "batched_tokens": 4096}
    assert term("expert workspace", **mixture) == 4096 * 8 * (2816 + 2816) * 2
    assert term("expert workspace", **mixture, tensor_parallel_size=2) == term("expert workspace", **mixture)
    assert term("expert workspace", **mixture, scheme="nvfp4_experts") == 4096 * 2816 * 2
    assert term("expert workspace") == 0


def test_graphs_are_reserved_from_0_21_on() -> None:
    assert term("CUDA graphs", version=(0, 20)) == 0
    assert term("CUDA graphs", version=(0, 21)) > 0
    assert term("CUDA graphs", version=(0, 24), cuda_graphs=False) == 0


def test_tokens_in_flight_double_from_0_26_on() -> None:
    assert tokens_in_flight((0, 25, 1), 2048) == 2048
    assert tokens_in_flight((0, 26, 0), 2048) == 4096


def test_windows_are_kept_from_0_10_on() -> None:
    old, new = demand_of(setup(version=(0, 8, 3))).cache, demand_of(setup(version=(0, 10))).cache
    assert old.request_bytes(32768) > 4 * new.request_bytes(32768)


def test_tensorrt_takes_its_share_of_what_weights_leave() -> None:
    demand = demand_of(setup(engine=EngineName.TENSORRT_LLM, version=(1, 2, 1)))
    left = int(79.19 * GIB) - demand.weights.bytes
    assert demand.usable_bytes == pytest.approx(demand.weights.bytes + 0.9 * left, rel=1e-6)


def test_tensorrt_counts_the_second_copy_of_the_per_layer_embedding() -> None:
    demand = demand_of(setup(engine=EngineName.TENSORRT_LLM, version=(1, 3), architecture_key="gemma-4-e4b"))
    assert sum(one.bytes for one in demand.overhead) >= 2 * 2_818_572_288


def test_gemma_1_on_tensorrt_costs_the_logged_bytes_per_token() -> None:
    """triton-inference-server/tensorrtllm_backend issue 456: 117,760 tokens in 54,022,635,520 bytes."""
    cache = TensorRTCache(attention_specs(CATALOG.architectures["gemma-7b"], 1), 2, 2048)
    assert cache.request_bytes(117_760) == 54_022_635_520


@pytest.mark.parametrize(
    ("context", "slots", "global_mib", "local_mib"),
    [(2048, 1, 6, 15), (2048, 8, 48, 120), (32768, 1, 96, 15)],
)
def test_llama_cpp_slots_cost_what_was_measured(
    context: int, slots: int, global_mib: int, local_mib: int
) -> None:
    cache = LlamaCppCache(attention_specs(CATALOG.architectures["gemma-3-270m"], 1), 2, micro_batch=512)
    assert slots * cache.request_bytes(context) == (global_mib + local_mib) * MIB


def test_largest_context_is_the_last_that_fits() -> None:
    demand = demand_of(setup())
    most = largest_context(demand, 131072)
    assert demand.cache.request_bytes(most) <= demand.pool_bytes
    assert most == 131072 or demand.cache.request_bytes(most + 64) > demand.pool_bytes


def test_old_versions_report_tokens_per_group() -> None:
    """vllm PR 39866: 78,256 tokens and 2.15x from the same pool."""
    specs = attention_specs(CATALOG.architectures["gemma-4-26b-a4b"], 1)
    cache = VllmCache(specs, element_bytes=1, tokens_in_flight=16384, derived_tokens=False)
    pool = 78_256 // 16 * 6 * cache.block_bytes
    capacity = cache.capacity(pool, 262_144)
    assert capacity.tokens == 78_256
    assert f"{capacity.concurrency:.2f}" == "2.15"
