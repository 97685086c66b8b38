"""Field cases that belong to sizing, by their number: what went wrong elsewhere must not go wrong here."""

import pytest
from tests.support.planning import CATALOG, cluster, node, planned, refused, spec

from gemma_operator.api.quantity import GIB
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.planning.attention import attention_specs
from gemma_operator.planning.kv_cache import VllmCache
from gemma_operator.planning.logged import start_of
from gemma_operator.planning.memory import demand_of
from gemma_operator.planning.points import setup_of
from gemma_operator.planning.weights import weight_layout


@pytest.mark.parametrize("context", [128, 4096])
def test_fo_01_27b_int4_on_a_24_gb_card_keeps_room_for_graphs(context: int) -> None:
    """It fitted on paper and never became ready at a memory fraction of 0.98: 4,096 tokens had no pool, and
    with 128 the capture of graphs ran out of memory."""
    plan = planned(
        spec(
            "gemma-3-27b-it",
            model={"precision": "INT4", "contextLength": context},
            hardware={"accelerator": "nvidia-l4", "count": 1},
        )
    )
    assert plan.engine_arguments["gpu_memory_utilization"] == 0.90
    assert plan.outlook is not None
    assert any(term.name == "CUDA graphs" and term.bytes > 0 for term in plan.outlook.terms)
    taken = plan.memory.weights_bytes + plan.memory.kv_cache_bytes + plan.memory.overhead_bytes
    assert taken <= 0.90 * 21.99 * GIB


def test_fo_01_without_windows_the_log_is_what_the_rule_says() -> None:
    """3,584 tokens were 1.695 GiB in the engine's log: every layer kept the full context."""
    body = CATALOG.architectures["gemma-3-27b"]
    cache = VllmCache(attention_specs(body, 1), element_bytes=2, tokens_in_flight=2048, hybrid=False)
    assert cache.request_bytes(3584) / GIB == pytest.approx(1.695, abs=0.001)
    assert cache.request_bytes(4096) > cache.request_bytes(3584)


def test_fo_01_the_old_engine_held_a_whole_prompt_of_images_at_once() -> None:
    """17.61 GiB of weights were logged, and about 2.2 GiB beside weights and cache."""
    row = {
        "model": "gemma-3-27b-it",
        "precision": "AWQ int4",
        "gpu": "24 GB card",
        "gpu_mem_gib_visible": "21.99",
        "engine_version": "vLLM 0.8.3",
        "max_model_len": "4096",
        "gpu_mem_util": "0.98",
        "metric": "kv_cache_tokens",
    }
    start = start_of(row, CATALOG)
    assert start is not None
    setup = setup_of(row, start, CATALOG)
    assert setup is not None
    demand = demand_of(setup)
    assert demand.weights.bytes / GIB == pytest.approx(17.61, rel=0.01)
    assert demand.overhead_bytes / GIB == pytest.approx(2.2, rel=0.10)


def test_fo_01_what_is_too_long_gets_the_largest_context_that_fits() -> None:
    refusal = refused(
        spec(
            "gemma-3-27b-it",
            model={"precision": "INT4", "contextLength": 131072},
            hardware={"accelerator": "nvidia-l4", "count": 1},
        )
    )
    assert refusal.reason is Reason.DOES_NOT_FIT
    assert "the largest context that fits is" in refusal.message


def test_fo_02_12b_int4_over_four_cards_weighs_what_was_logged() -> None:
    """2.54 GiB per worker: embedding, image tower and projector stay in 16 bits."""
    layout = weight_layout(CATALOG, "gemma-3-12b", "w4a16_g128", EngineName.VLLM, 4)
    assert layout.loaded_bytes / GIB == pytest.approx(2.54, rel=0.03)


def test_fo_02_tokens_and_requests_are_one_figure() -> None:
    """970,354 tokens and 29.61 requests of 32,768 are the same pool."""
    cache = VllmCache(attention_specs(CATALOG.architectures["gemma-3-12b"], 4), 2, 2048)
    capacity = cache.capacity(20 * GIB, 32768)
    assert capacity.tokens == pytest.approx(capacity.concurrency * 32768, abs=1)


def test_fo_02_a_replica_admits_no_more_requests_than_its_engine_runs() -> None:
    plan = planned(
        spec(
            "gemma-3-12b-it",
            model={"precision": "INT4", "contextLength": 32768},
            hardware={"accelerator": "nvidia-l4", "count": 4},
            capacity={"maxConcurrentRequests": 8},
        )
    )
    assert plan.max_concurrent_requests == plan.engine_arguments["max_num_seqs"] == 8


def test_fo_03_a_download_into_the_pod_asks_for_its_disk() -> None:
    """51 GiB of files with no ephemeral-storage request were evicted at 13 of 30 shards."""
    plan = planned(
        spec("gemma-3-27b-it", model={"precision": "BF16"}, hardware={"accelerator": "nvidia-l4", "count": 8})
    )
    assert plan.weights.size_bytes > 51 * GIB
    assert plan.host.ephemeral_storage_bytes >= 1.1 * plan.weights.size_bytes


@pytest.mark.parametrize(
    ("variant", "precision"),
    [
        ("gemma-3-4b-it", "BF16"),
        ("gemma-3-4b-it", "FP16"),
        ("gemma-3-4b-it", "INT4"),
        ("gemma-2-9b-it", "INT4"),
    ],
)
def test_fo_04_gemma_2_and_3_on_t4_are_refused_before_a_node_is_asked_for(
    variant: str, precision: str
) -> None:
    refusal = refused(
        spec(variant, model={"precision": precision}, hardware={"accelerator": "nvidia-t4", "count": 2})
    )
    assert refusal.reason is Reason.UNSUPPORTED_PRECISION
    assert refusal.remedies
    assert all(r.spec_fragment["hardware"]["accelerator"] != "nvidia-t4" for r in refusal.remedies)


def test_fo_04_gemma_4_e2b_in_fp16_on_one_t4_is_known_to_run() -> None:
    plan = planned(spec("gemma-4-e2b-it", model={"precision": "FP16"}, hardware={"accelerator": "nvidia-t4"}))
    assert plan.count == 1


def test_fo_12_host_memory_holds_loader_and_shared_memory_by_default() -> None:
    """A pod limit of 12 GiB was killed 35 seconds into streaming the weights of 27B."""
    hardware = {"accelerator": "nvidia-h100-80gb", "count": 1}
    plan = planned(spec("gemma-3-27b-it", model={"precision": "BF16"}, hardware=hardware))
    assert plan.host.memory_bytes > 12 * GIB
    assert plan.host.memory_bytes > plan.host.shared_memory_bytes


def test_fo_12_a_node_without_that_memory_is_never_asked_for() -> None:
    small = node(gpu="1", memory="6Gi", labels={"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"})
    wanted = spec("gemma-3-27b-it", model={"precision": "BF16"}, hardware={"accelerator": "nvidia-h100-80gb"})
    refusal = refused(wanted, inventory=cluster(small))
    assert "GiB of host memory" in refusal.message
