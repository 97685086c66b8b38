"""What a plan holds: choices under Auto, engine arguments per version, host resources, cost, start-up."""

from typing import Any

import pytest
from tests.support.planning import CATALOG, OFFLINE, Inventory, cluster, node, planned, refused, spec

from gemma_operator.api.quantity import GIB, MIB
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.catalog.rows import Task
from gemma_operator.planning.matrix import matrix, rentable
from gemma_operator.planning.origin import BucketOrigin, ClaimOrigin, HubOrigin, ImageOrigin
from gemma_operator.planning.place import World
from gemma_operator.planning.planner import decide
from gemma_operator.planning.recommend import Need, recommend
from gemma_operator.resources.media import media_config
from gemma_operator.settings import PlanningSettings
from gemma_serving.contract import MediaConfig

WORLD = World(CATALOG, OFFLINE, Inventory())


def test_the_demo_model_takes_a_laptops_share() -> None:
    plan = planned(spec("gemma-3-270m"), inventory=cluster(node(cpu="2", memory="20Gi")))
    assert (plan.engine, plan.precision, plan.accelerator) == (EngineName.LLAMA_CPP, Precision.Q4_K_M, "cpu")
    assert (plan.context_length, plan.max_concurrent_requests, plan.threads) == (8192, 4, 1)
    assert plan.memory.kv_cache_bytes == 4 * (3072 * 8192 + 15360 * 768)
    assert plan.host.memory_bytes <= 1 * GIB
    assert plan.engine_arguments == {"n_batch": 512, "n_ubatch": 128}
    assert not plan.instruction_tuned


def test_threads_follow_the_cpu_limit() -> None:
    assert planned(spec("gemma-3-270m", hardware={"accelerator": "cpu", "cpu": "3500m"})).threads == 3
    assert planned(spec("gemma-3-270m", hardware={"accelerator": "cpu", "cpu": "200m"})).threads == 1


def test_given_memory_holds_as_many_slots_as_fit() -> None:
    plan = planned(spec("gemma-3-270m", hardware={"accelerator": "cpu", "memory": "704Mi"}))
    assert plan.max_concurrent_requests < 4
    assert plan.host.memory_bytes == 704 * MIB


@pytest.mark.parametrize(
    ("optimization", "precision"),
    [("Performance", Precision.BF16), ("Balanced", Precision.FP8), ("MaximumEfficiency", Precision.INT4)],
)
def test_optimization_is_what_auto_precision_aims_at(optimization: str, precision: Precision) -> None:
    plan = planned(
        spec(
            "gemma-3-12b-it",
            model={"optimization": optimization},
            hardware={"accelerator": "nvidia-h100-80gb"},
        )
    )
    assert plan.precision is precision


def test_auto_takes_the_cheapest_that_fits() -> None:
    plan = planned(spec("gemma-3-27b-it"))
    others = [decide(spec("gemma-3-27b-it", hardware={"accelerator": key}), WORLD) for key in CATALOG.prices]
    assert plan.outlook is not None
    costs = [one.outlook.hourly_cost for one in others if hasattr(one, "outlook") and one.outlook]
    assert plan.outlook.hourly_cost == min(cost for cost in costs if cost is not None)


def test_small_models_go_to_the_cpu_unless_many_requests_are_wanted() -> None:
    assert planned(spec("gemma-3-1b-it")).accelerator == "cpu"
    assert planned(spec("gemma-3-1b-it", capacity={"maxConcurrentRequests": 32})).accelerator != "cpu"
    assert planned(spec("gemma-3-4b-it")).accelerator != "cpu"


def test_the_engine_that_the_matrix_is_surer_of_is_taken_first() -> None:
    plan = planned(
        spec("gemma-3-27b-it", model={"precision": "BF16"}, hardware={"accelerator": "nvidia-h100-80gb"})
    )
    assert plan.engine is EngineName.VLLM
    assert plan.outlook is not None
    assert plan.outlook.support == "verified"
    assert any("verified" in sentence for sentence in plan.explanations)


def test_vllm_arguments_say_what_the_plan_decided() -> None:
    plan = planned(spec("gemma-4-26b-a4b-it", hardware={"accelerator": "nvidia-h100-80gb"}))
    arguments = plan.engine_arguments
    assert arguments["max_model_len"] == plan.context_length
    assert arguments["max_num_seqs"] == plan.max_concurrent_requests
    assert arguments["tensor_parallel_size"] == plan.tensor_parallel_size
    assert arguments["dtype"] == "bfloat16"
    assert "quantization" not in arguments
    assert arguments["limit_mm_per_prompt"] == {"image": 8, "video": 1, "audio": 0}
    assert plan.modalities == ("text", "image", "video")


@pytest.mark.parametrize("items", [None, 1, 3, 64])
@pytest.mark.parametrize("variant", ["gemma-3-4b-it", "gemma-3n-e4b-it", "gemma-4-e4b-it"])
def test_gateway_and_engine_allow_the_same_number_of_media(variant: str, items: int | None) -> None:
    wanted = spec(
        variant,
        hardware={"accelerator": "nvidia-l4"},
        engine={"name": "VLLM"},
        **({} if items is None else {"media": {"maxItems": items}}),
    )
    plan = planned(wanted)
    gateway = media_config(wanted) or MediaConfig()
    engine = plan.engine_arguments["limit_mm_per_prompt"]
    taken_in = {kind for kind in ("image", "audio") if kind in plan.modalities}
    assert "image" in taken_in
    assert {engine[kind] for kind in taken_in} == {gateway.max_items}


def test_no_media_items_make_a_deployment_that_takes_text_only() -> None:
    plan = planned(spec("gemma-4-e4b-it", hardware={"accelerator": "nvidia-l4"}, media={"maxItems": 0}))
    assert plan.modalities == ("text",)
    assert set(plan.engine_arguments["limit_mm_per_prompt"].values()) == {0}


def test_a_checkpoint_with_fp8_scales_halves_the_cache() -> None:
    def request_bytes(precision: str) -> float:
        plan = planned(
            spec(
                "gemma-4-31b-it",
                model={"precision": precision},
                hardware={"accelerator": "nvidia-b200"},
                capacity={"maxConcurrentRequests": 1},
            )
        )
        assert ("kv_cache_dtype" in plan.engine_arguments) == (precision == "NVFP4")
        return plan.memory.kv_cache_bytes

    assert request_bytes("NVFP4") == request_bytes("BF16") / 2


def test_media_that_no_step_can_take_in_are_not_promised() -> None:
    plan = planned(spec("gemma-4-31b-it", hardware={"accelerator": "nvidia-l4", "count": 2}))
    assert plan.engine_arguments["max_num_batched_tokens"] < 2496
    assert plan.engine_arguments["limit_mm_per_prompt"]["video"] == 0
    assert "video" not in plan.modalities


def test_a_large_step_is_not_paid_for_with_half_of_the_requests() -> None:
    """At 8,192 tokens of context a step of 8,192 makes windows cost what full attention does."""
    plan = planned(spec("gemma-3-27b-it", hardware={"accelerator": "nvidia-h100-80gb"}))
    assert plan.engine_arguments["max_num_batched_tokens"] == 2048
    assert plan.max_concurrent_requests >= 14


def test_tensorrt_1_2_gets_its_window_pattern_and_no_newer_key() -> None:
    plan = planned(
        spec(
            "gemma-3-27b-it",
            model={"precision": "BF16", "contextLength": 16384},
            engine={"name": "TensorRTLLM"},
            hardware={"accelerator": "nvidia-h100-80gb"},
        )
    )
    cache = plan.engine_arguments["kv_cache_config"]
    assert cache["max_attention_window"] == [1024] * 5 + [16384]
    assert cache["enable_block_reuse"] is False
    assert "telemetry_config" not in plan.engine_arguments
    assert plan.modalities == ("text",)


def test_weights_quantised_at_load_are_fetched_in_16_bits() -> None:
    plan = planned(spec("gemma-2-9b-it", model={"precision": "FP8"}, hardware={"accelerator": "nvidia-l4"}))
    assert plan.engine_arguments["quantization"] == "fp8"
    assert plan.weights.size_bytes == 2 * 9_241_705_984


def test_disk_holds_the_weights_only_without_a_cache() -> None:
    hardware = {"accelerator": "nvidia-l4", "count": 4}
    own = planned(spec("gemma-3-27b-it", model={"precision": "BF16"}, hardware=hardware))
    shared = planned(spec("gemma-3-27b-it", model={"precision": "BF16"}, hardware=hardware, cache={}))
    assert own.host.ephemeral_storage_bytes > own.weights.size_bytes
    assert shared.host.ephemeral_storage_bytes == GIB
    assert "fetch" in [phase.phase for phase in own.outlook.startup if own.outlook]
    assert "fetch" not in [phase.phase for phase in shared.outlook.startup if shared.outlook]
    assert own.predicted_load_seconds == shared.predicted_load_seconds


def l4_node(**allocatable: str) -> Inventory:
    return cluster(node(gpu="1", labels={"cloud.google.com/gke-accelerator": "nvidia-l4"}, **allocatable))


def test_host_defaults_stay_within_the_clusters_nodes() -> None:
    wanted = spec("gemma-3-12b-it", hardware={"accelerator": "nvidia-l4"})
    roomy, tight = (
        planned(wanted, inventory=l4_node(cpu=c, memory=m)) for c, m in (("16", "64Gi"), ("4", "12Gi"))
    )
    assert tight.host.memory_bytes <= int(11.5 * GIB) < roomy.host.memory_bytes
    assert (tight.host.cpu_millicores, roomy.host.cpu_millicores) == (3000, 3000)


def test_host_memory_that_no_node_has_is_refused() -> None:
    wanted = spec("gemma-3-12b-it", hardware={"accelerator": "nvidia-l4"})
    assert "needs 8.00 GiB of host memory" in refused(wanted, inventory=l4_node(memory="6Gi")).message
    asked = spec("gemma-3-12b-it", hardware={"accelerator": "nvidia-l4", "memory": "48Gi"})
    assert "needs 48.00 GiB of host memory" in refused(asked, inventory=l4_node(memory="32Gi")).message


def test_host_memory_too_small_for_a_gpu_engine_is_refused_with_what_it_needs() -> None:
    wanted = spec("gemma-3-12b-it", hardware={"accelerator": "nvidia-l4", "memory": "300Mi"})
    refusal = refused(wanted)
    assert refusal.reason is Reason.DOES_NOT_FIT
    assert "needs 8.00 GiB of host memory" in refusal.message
    assert "set it to 8Gi or more" in refusal.message


def test_memory_too_small_for_cpu_and_gpu_alike_reports_the_smaller_lack() -> None:
    wanted = spec("gemma-3-270m", hardware={"cpu": "500m", "memory": "300Mi"})
    message = refused(wanted, inventory=l4_node(cpu="2", memory="24Gi")).message
    assert "on cpu with LlamaCpp does not fit" in message


def test_a_claim_is_mounted_and_nothing_fetched() -> None:
    source = {"persistentVolumeClaim": {"claimName": "models", "path": "270m/model.gguf"}}
    plan = planned(spec("gemma-3-270m", model={"source": source}))
    assert plan.weights.origin == ClaimOrigin("models", "270m/model.gguf")
    assert (plan.fetched, plan.weights.entry) == ((), ".")


def test_an_own_repository_keeps_its_revision_and_endpoint() -> None:
    hub = {"repository": "team/gemma", "revision": "v1", "endpoint": "http://mirror.example"}
    plan = planned(spec("gemma-3-270m", model={"source": {"huggingFace": hub}}))
    assert plan.weights.origin == HubOrigin("team/gemma", "v1", "http://mirror.example")


def test_a_bucket_is_searched_for_the_files_of_the_variant() -> None:
    plan = planned(spec("gemma-3-270m", model={"source": {"gcs": {"uri": "gs://models/270m/"}}}))
    by_name = planned(spec("gemma-3-270m"))
    assert plan.weights.origin == BucketOrigin("gs://models/270m")
    assert (plan.weights.files, plan.weights.entry) == (by_name.weights.files, by_name.weights.entry)
    assert plan.weights.size_bytes == by_name.weights.size_bytes


def test_a_uri_that_names_a_file_is_that_file_whatever_it_is_called() -> None:
    s3 = {"uri": "s3://models/mine.gguf", "credentialsSecretRef": {"name": "store"}}
    plan = planned(spec("gemma-3-270m", model={"source": {"s3": s3}}))
    assert plan.weights.origin == BucketOrigin("s3://models/mine.gguf", None, "store")
    assert (plan.weights.files, plan.weights.entry) == (("mine.gguf",), "mine.gguf")


def test_an_image_is_mounted_and_nothing_fetched() -> None:
    source = {"image": {"reference": "registry.example/gemma:1", "path": "270m/model.gguf"}}
    plan = planned(spec("gemma-3-270m", model={"source": source}))
    assert plan.weights.origin == ImageOrigin("registry.example/gemma:1", "270m/model.gguf")
    assert (plan.fetched, plan.weights.entry) == ((), ".")


def test_equal_names_of_different_stores_and_kinds_are_different_weights() -> None:
    sources: list[dict[str, Any]] = [
        {"gcs": {"uri": "gs://models/270m"}},
        {"s3": {"uri": "s3://models/270m"}},
        {"s3": {"uri": "s3://models/270m", "endpoint": "http://minio.example:9000"}},
        {"persistentVolumeClaim": {"claimName": "models", "path": "270m"}},
        {"image": {"reference": "models", "path": "270m"}},
    ]
    keys = {planned(spec("gemma-3-270m", model={"source": source})).weights.key for source in sources}
    assert len(keys) == len(sources)


def test_partitions_select_their_size() -> None:
    plan = planned(spec("gemma-3-4b-it", hardware={"accelerator": "nvidia-h100-80gb-mig-3g.40gb"}))
    assert plan.resource_name == "nvidia.com/mig-3g.40gb"
    assert plan.node_selector["cloud.google.com/gke-gpu-partition-size"] == "3g.40gb"


def test_an_image_tag_of_the_settings_is_rendered_with_its_version() -> None:
    settings = replace_tag("26.06-vllm-python-py3")
    plan = planned(spec("gemma-3-4b-it", hardware={"accelerator": "nvidia-l4"}), settings=settings)
    assert plan.image == "nvcr.io/nvidia/tritonserver:26.06-vllm-python-py3"
    assert plan.engine_version == "0.22.1"


def replace_tag(tag: str) -> PlanningSettings:
    return OFFLINE.model_copy(update={"gpu_image_tags": {"VLLM": tag}})


def test_cost_follows_from_price_and_speed() -> None:
    outlook = planned(spec("gemma-3-27b-it", hardware={"accelerator": "nvidia-l4"})).outlook
    assert outlook is not None
    assert outlook.hourly_cost == pytest.approx(2 * 0.7068)
    tokens_per_hour = outlook.speed.total.expected * 3600
    assert outlook.cost_per_million_tokens == pytest.approx(1.4136 / tokens_per_hour * 1e6, rel=1e-3)


def test_machines_are_the_smallest_that_offer_the_count() -> None:
    outlook = planned(
        spec("gemma-3-27b-it", model={"precision": "FP8"}, hardware={"accelerator": "nvidia-l4", "count": 2})
    ).outlook
    assert outlook is not None
    assert outlook.machine_types == ("g2-standard-24",)


def test_more_requests_at_once_give_more_tokens_and_slower_streams() -> None:
    def speed(requests: int) -> tuple[float, float]:
        plan = planned(
            spec(
                "gemma-3-12b-it",
                hardware={"accelerator": "nvidia-h100-80gb"},
                capacity={"maxConcurrentRequests": requests},
            )
        )
        assert plan.outlook is not None
        return plan.outlook.speed.total.expected, plan.outlook.speed.per_request.expected

    one, many = speed(1), speed(32)
    assert many[0] > 5 * one[0]
    assert many[1] < one[1]


def test_the_matrix_answers_every_cell() -> None:
    cells = list(matrix(WORLD, rentable(WORLD), (Precision.AUTO,), 8192))
    served = [key for key, row in CATALOG.variants.items() if row.refusal is None]
    assert len(cells) == len(served) * len(rentable(WORLD))
    assert all(cell.fits or cell.fit.message for cell in cells)
    assert sum(cell.fits for cell in cells) > len(cells) / 2


@pytest.mark.parametrize("task", list(Task))
def test_the_guide_recommends_verified_plans_within_the_budget(task: Task) -> None:
    need = Need(task, context=4096, concurrency=4, hourly_budget=12.0)
    found = recommend(need, WORLD, lambda wanted: decide(wanted, WORLD))
    assert found, task
    for one in found:
        assert task in one.row.tasks
        assert one.plan.max_concurrent_requests == 4
        assert one.plan.outlook is not None
        assert (one.plan.outlook.hourly_cost or 0.0) <= 12.0
    qualities = [one.row.quality for one in found]
    assert qualities == sorted(qualities, reverse=True)


def test_vision_is_recommended_only_where_the_plan_takes_images_in() -> None:
    need = Need(Task.VISION, context=4096, concurrency=2)
    assert all("image" in one.plan.modalities for one in recommend(need, WORLD, lambda s: decide(s, WORLD)))


def test_an_empty_budget_recommends_nothing_that_costs() -> None:
    need = Need(Task.VISION, context=4096, concurrency=2, hourly_budget=0.01)
    assert recommend(need, WORLD, lambda wanted: decide(wanted, WORLD)) == ()
