"""What people get wrong, and the answer they get: what is needed, what there is, what to do."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.planning import CATALOG, OFFLINE, cluster, node, planned, refused, spec

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.planning.choose import choose
from gemma_operator.planning.fit import GpuFit, Misfit
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.origin import HubOrigin
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import Refusal
from gemma_operator.planning.wish import Wish, wish_of
from gemma_operator.settings import PlanningSettings


def test_a_size_that_does_not_exist_gets_the_sizes_that_do() -> None:
    refusal = refused(spec("gemma-3-8b-it"))
    assert refusal.reason is Reason.UNKNOWN_VARIANT
    assert refusal.message.startswith("gemma-3-8b-it does not exist; Gemma 3 has 270m, 1b, 4b, 12b, 27b")
    assert {"model": {"variant": "gemma-3-4b-it"}} in [remedy.spec_fragment for remedy in refusal.remedies]


def test_a_generation_that_does_not_exist_gets_the_nearest_names() -> None:
    refusal = refused(spec("gemma-2.5"))
    assert refusal.reason is Reason.UNKNOWN_VARIANT
    assert "gemma-2.5 does not exist; the nearest are gemma-2" in refusal.message


def test_a_name_without_its_form_gets_both_forms() -> None:
    refusal = refused(spec("gemma-3-4b"))
    assert "gemma-3-4b does not exist; there are gemma-3-4b-it and gemma-3-4b-pt" in refusal.message


def test_upper_case_of_the_hub_is_forgiven() -> None:
    assert planned(spec("gemma-4-E2B-it")).variant == "gemma-4-e2b-it"


def test_fp8_on_a100_is_refused_with_the_reason() -> None:
    refusal = refused(
        spec("gemma-3-27b-it", model={"precision": "FP8"}, hardware={"accelerator": "nvidia-a100-80gb"})
    )
    assert refusal.reason is Reason.UNSUPPORTED_PRECISION
    assert "FP8 needs compute capability 8.9" in refusal.message
    assert {"model": {"precision": "BF16"}} in [remedy.spec_fragment for remedy in refusal.remedies]


def test_bf16_on_t4_is_refused_before_a_node_is_asked_for() -> None:
    for variant in ("gemma-3-4b-it", "gemma-2-9b-it"):
        for precision in ("BF16", "FP16", "INT4"):
            refusal = refused(
                spec(
                    variant, model={"precision": precision}, hardware={"accelerator": "nvidia-t4", "count": 2}
                )
            )
            assert refusal.reason is Reason.UNSUPPORTED_PRECISION
    assert "numerically unstable" in refusal.message or "no checkpoint" in refusal.message


def test_gemma_4_e2b_in_fp16_on_t4_is_known_to_run() -> None:
    plan = planned(spec("gemma-4-e2b-it", model={"precision": "FP16"}, hardware={"accelerator": "nvidia-t4"}))
    assert plan.count == 1
    assert plan.outlook is not None
    assert plan.outlook.support == "verified"


def test_nvfp4_on_h100_is_refused_with_the_reason() -> None:
    refusal = refused(
        spec("gemma-4-31b-it", model={"precision": "NVFP4"}, hardware={"accelerator": "nvidia-h100-80gb"})
    )
    assert refusal.reason is Reason.UNSUPPORTED_PRECISION
    assert "NVFP4 needs compute capability 10.0 (Blackwell)" in refusal.message


def test_three_l4_get_the_counts_that_exist() -> None:
    refusal = refused(spec("gemma-3-27b-it", hardware={"accelerator": "nvidia-l4", "count": 3}))
    assert refusal.reason is Reason.IMPOSSIBLE_COUNT
    assert "no machine has 3 x nvidia-l4: there are 1, 2, 4, 8" in refusal.message


def test_more_ranks_than_heads_divide_are_refused() -> None:
    refusal = refused(spec("gemma-3-1b-it", hardware={"accelerator": "nvidia-l4", "count": 8}))
    assert refusal.reason is Reason.IMPOSSIBLE_COUNT
    assert "4 attention heads" in refusal.message


def test_27b_in_bf16_on_one_l4_gets_the_sum_and_cheaper_ways_first() -> None:
    refusal = refused(
        spec("gemma-3-27b-it", model={"precision": "BF16"}, hardware={"accelerator": "nvidia-l4", "count": 1})
    )
    assert refusal.reason is Reason.DOES_NOT_FIT
    assert "weights 51.43" in refusal.message
    assert "has 19.75 GiB usable of 21.95" in refusal.message
    assert refusal.remedies[0].spec_fragment == {"model": {"precision": "INT4"}}
    assert refusal.remedies[1].spec_fragment == {"hardware": {"count": 4}}


def test_e2b_taken_for_2b_is_planned_with_its_five_billion() -> None:
    plan = planned(spec("gemma-4-e2b-it", model={"precision": "BF16"}, hardware={"accelerator": "nvidia-l4"}))
    assert plan.memory.weights_bytes > 9.5 * 1024**3


def test_26b_a4b_taken_for_4b_is_refused_with_all_its_experts() -> None:
    refusal = refused(
        spec(
            "gemma-4-26b-a4b-it",
            model={"precision": "BF16"},
            hardware={"accelerator": "nvidia-l4", "count": 1},
        )
    )
    assert refusal.reason is Reason.DOES_NOT_FIT
    assert "weights 48.52" in refusal.message


def test_a_context_above_the_variants_is_refused_and_not_cut() -> None:
    refusal = refused(spec("gemma-3-1b-it", model={"contextLength": 131072}))
    assert refusal.reason is Reason.CONTEXT_TOO_LONG
    assert "was asked for 131072 tokens of context and has 32768" in refusal.message
    assert refusal.remedies[0].spec_fragment == {"model": {"contextLength": 32768}}


def test_an_amd64_image_on_grace_hosts_is_refused() -> None:
    refusal = refused(spec("gemma-4-31b-it", hardware={"accelerator": "nvidia-gb200"}))
    assert refusal.reason is Reason.UNSUPPORTED_ENGINE
    assert "nvidia-gb200 hosts are arm64" in refusal.message
    assert "known for amd64 only" in refusal.message


def with_adapters(engine: str, accelerator: str) -> Wish:
    wish = wish_of(
        spec("gemma-3-4b-it", engine={"name": engine}, hardware={"accelerator": accelerator}), CATALOG
    )
    assert isinstance(wish, Wish)
    return replace(wish, adapters=2, adapter_rank=16)


def test_adapters_on_an_engine_that_has_none_are_refused() -> None:
    world = World(CATALOG, OFFLINE, Inventory())
    fit = choose(with_adapters("TensorRTLLM", "nvidia-l4"), world)
    assert isinstance(fit, Misfit)
    assert fit.reason is Reason.UNSUPPORTED_ENGINE
    assert "2 adapters, which TensorRTLLM 1.2.1 does not serve here; use VLLM" in fit.message


def test_adapters_on_vllm_are_counted() -> None:
    world = World(CATALOG, OFFLINE, Inventory())
    wish = with_adapters("VLLM", "nvidia-l4")
    with_them, without = choose(wish, world), choose(replace(wish, adapters=0), world)
    assert isinstance(with_them, GpuFit)
    assert isinstance(without, GpuFit)
    assert any(term.name == "adapters" and term.bytes > 0 for term in with_them.demand.overhead)
    assert with_them.demand.pool_bytes < without.demand.pool_bytes


def test_partitions_serve_one_rank_only() -> None:
    partition = "nvidia-h100-80gb-mig-3g.40gb"
    assert planned(spec("gemma-3-4b-it", hardware={"accelerator": partition})).count == 1
    refusal = refused(spec("gemma-3-4b-it", hardware={"accelerator": partition, "count": 2}))
    assert "partitions cannot work together" in refusal.message


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("paligemma2-3b-pt-224", "bidirectional prefix"),
        ("embeddinggemma-300m", "embeddings"),
        ("diffusiongemma-26b-a4b-it", "block diffusion"),
        ("gemma-4-31b-assistant", "drafter"),
        ("shieldgemma-2-4b-it", "classifies images"),
    ],
)
def test_relatives_that_nobody_serves_say_why(variant: str, words: str) -> None:
    refusal = refused(spec(variant))
    assert refusal.reason is Reason.UNSERVABLE_VARIANT
    assert words in refusal.message


def test_more_requests_than_the_cache_holds_are_refused_with_the_number_that_fits() -> None:
    refusal = refused(
        spec(
            "gemma-3-12b-it",
            model={"precision": "INT4"},
            hardware={"accelerator": "nvidia-l4", "count": 1},
            capacity={"maxConcurrentRequests": 64},
        )
    )
    assert refusal.reason is Reason.CONCURRENCY_TOO_HIGH
    fewer = [r.spec_fragment for r in refusal.remedies if "capacity" in r.spec_fragment]
    assert fewer
    most = fewer[0]["capacity"]["maxConcurrentRequests"]
    assert f"holds {most} requests" in refusal.message


@pytest.mark.parametrize(
    "count",
    [
        {"replicas": 2},
        {"scaling": {"maxReplicas": 2}},
        {
            "scaling": {
                "maxReplicas": 1,
                "schedules": [
                    {"start": "0 8 * * *", "end": "0 18 * * *", "minReplicas": 1, "maxReplicas": 2}
                ],
            }
        },
    ],
    ids=["replicas", "scaling", "schedule"],
)
def test_several_replicas_on_a_claim_that_one_node_can_mount_are_refused(count: Any) -> None:
    refusal = refused(spec("gemma-3-4b-it", cache={}, **count))
    assert refusal.reason is Reason.CACHE_ON_ONE_NODE
    assert "2 replicas" in refusal.message
    assert refusal.remedies[0].spec_fragment == {"cache": {"accessMode": "ReadWriteMany"}}
    for cache in ({"accessMode": "ReadWriteMany"}, {"claimName": "models"}):
        planned(spec("gemma-3-4b-it", cache=cache, **count))


def test_an_accelerator_that_does_not_exist_gets_the_nearest() -> None:
    refusal = refused(spec("gemma-3-4b-it", hardware={"accelerator": "nvidia-l5"}))
    assert refusal.reason is Reason.UNKNOWN_ACCELERATOR
    assert "nvidia-l4" in refusal.message


def test_llama_cpp_on_an_accelerator_and_vllm_on_cpu_are_refused() -> None:
    on_gpu = spec("gemma-3-4b-it", engine={"name": "LlamaCpp"}, hardware={"accelerator": "nvidia-l4"})
    on_cpu = spec("gemma-3-4b-it", engine={"name": "VLLM"}, hardware={"accelerator": "cpu"})
    for wanted in (on_gpu, on_cpu):
        assert refused(wanted).reason is Reason.UNSUPPORTED_ENGINE


def test_a_gated_repository_without_a_token_is_refused_before_a_gpu_is_asked_for() -> None:
    wanted = spec("gemma-3-4b-it", model={"precision": "BF16"}, hardware={"accelerator": "nvidia-l4"})
    refusal = refused(wanted, settings=PlanningSettings())
    assert refusal.reason is Reason.TOKEN_REQUIRED
    assert "google/gemma-3-4b-it is gated" in refusal.message


def test_a_mirror_and_an_ungated_repository_need_no_token() -> None:
    mirror = {"huggingFace": {"repository": "google/gemma-3-4b-it", "endpoint": "http://mirror.example"}}
    wanted = spec(
        "gemma-3-4b-it",
        model={"precision": "BF16", "source": mirror},
        hardware={"accelerator": "nvidia-l4"},
    )
    origin = planned(wanted, settings=PlanningSettings()).weights.origin
    assert isinstance(origin, HubOrigin)
    assert origin.endpoint == "http://mirror.example"
    assert planned(spec("gemma-4-e4b-it", hardware={"accelerator": "nvidia-l4"}), settings=PlanningSettings())


def test_auto_on_a_cluster_takes_what_is_present() -> None:
    inventory = cluster(node(gpu="4", labels={"cloud.google.com/gke-accelerator": "nvidia-l4"}))
    plan = planned(spec("gemma-3-27b-it"), inventory=inventory)
    assert (plan.accelerator, plan.count) == ("nvidia-l4", 2)


def test_auto_on_a_cluster_without_accelerators_takes_the_cpu() -> None:
    plan = planned(spec("gemma-3-270m"), inventory=cluster(node()))
    assert plan.engine is EngineName.LLAMA_CPP
    assert plan.precision is Precision.Q4_K_M
    assert plan.max_concurrent_requests == 4


def test_nothing_in_the_cluster_large_enough_is_refused_with_its_nodes_memory() -> None:
    refusal = refused(spec("gemma-3-27b-it"), inventory=cluster(node(memory="8Gi")))
    assert isinstance(refusal, Refusal)
    assert "the largest node has 7.50 GiB allocatable beside the gateway" in refusal.message


def test_candidates_are_tried_in_their_order_among_those_present() -> None:
    inventory = cluster(
        node(gpu="1", labels={"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}),
        node(gpu="1", labels={"cloud.google.com/gke-accelerator": "nvidia-l4"}),
    )
    wanted = spec("gemma-3-4b-it", hardware={"candidates": ["nvidia-b200", "nvidia-h100-80gb", "nvidia-l4"]})
    assert planned(wanted, inventory=inventory).accelerator == "nvidia-h100-80gb"
