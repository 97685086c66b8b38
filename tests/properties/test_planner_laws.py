"""Laws of the planner: total, deterministic, honest, minimal, legal, monotone, and the window law."""

import dataclasses
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.planning import CATALOG, answer, spec

from gemma_operator.api.quantity import GIB
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec, Optimization, Precision
from gemma_operator.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Accelerator
from gemma_operator.planning.attention import attention_specs
from gemma_operator.planning.inventory import Inventory, NodeOffer
from gemma_operator.planning.kv_cache import LlamaCppCache, TensorRTCache, VllmCache
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.remedies import with_fragment

SERVED = sorted(key for key, row in CATALOG.variants.items() if row.refusal is None)
DEVICES = sorted(CATALOG.accelerators)
USABLE = sorted(key for key, row in CATALOG.accelerators.items() if row.refusal is None)
LAWS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def specs(draw: st.DrawFn) -> GemmaDeploymentSpec:
    """Any schema-valid spec: real and unreal names, every precision, engine, count, size."""
    name = st.one_of(st.sampled_from(sorted(CATALOG.variants)), st.text(min_size=1, max_size=30))
    accelerator = st.one_of(st.sampled_from([*DEVICES, "cpu", "Auto"]), st.text(min_size=1, max_size=20))
    model: dict[str, Any] = {
        "variant": draw(name),
        "precision": draw(st.sampled_from(Precision)),
        "optimization": draw(st.sampled_from(Optimization)),
        "contextLength": draw(st.none() | st.integers(64, 1048576)),
    }
    hardware: dict[str, Any] = {"accelerator": draw(accelerator)}
    if hardware["accelerator"] != "cpu":
        hardware["count"] = draw(st.none() | st.integers(1, 16))
    hardware["cpu"] = draw(st.none() | st.sampled_from(["100m", "1", "2500m", "64"]))
    hardware["memory"] = draw(st.none() | st.sampled_from(["64Mi", "1Gi", "16Gi", "512Gi"]))
    if hardware["accelerator"] == "Auto":
        hardware["candidates"] = draw(st.lists(st.sampled_from([*DEVICES, "cpu", "nonsense"]), max_size=3))
    return GemmaDeploymentSpec.model_validate(
        {
            "model": model,
            "engine": {"name": draw(st.sampled_from(EngineName))},
            "hardware": hardware,
            "capacity": {"maxConcurrentRequests": draw(st.none() | st.integers(1, 4096))},
        }
    )


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    offer = st.builds(
        NodeOffer,
        accelerator=st.none() | st.sampled_from(USABLE),
        count=st.integers(0, 8),
        cpu_millicores=st.integers(0, 64000),
        memory_bytes=st.integers(0, 512 * GIB),
        architecture=st.sampled_from(["amd64", "arm64"]),
    )
    return Inventory(tuple(draw(st.lists(offer, max_size=3))))


on_devices = st.builds(
    lambda variant, device, precision, engine: spec(
        variant, model={"precision": precision}, engine={"name": engine}, hardware={"accelerator": device}
    ),
    st.sampled_from(SERVED),
    st.sampled_from(USABLE),
    st.sampled_from(["Auto", "BF16", "FP8", "INT4"]),
    st.sampled_from(["Auto", "VLLM", "TensorRTLLM"]),
)
"""Specs that name their hardware, so that answers can be compared."""


@LAWS
@given(specs(), inventories())
def test_total_it_answers_every_schema_valid_spec(wanted: GemmaDeploymentSpec, inventory: Inventory) -> None:
    result = answer(wanted, inventory=inventory)
    assert isinstance(result, Plan | Refusal)
    if isinstance(result, Refusal):
        assert isinstance(result.reason, Reason)
        assert result.message


@LAWS
@given(specs(), inventories())
def test_deterministic_same_input_same_bytes(wanted: GemmaDeploymentSpec, inventory: Inventory) -> None:
    first, second = (answer(wanted, inventory=inventory) for _ in range(2))
    assert first == second
    texts = [json.dumps(dataclasses.asdict(one), sort_keys=True) for one in (first, second)]
    assert texts[0] == texts[1]


@LAWS
@given(specs())
def test_explicit_wishes_are_honoured_or_refused(wanted: GemmaDeploymentSpec) -> None:
    plan = answer(wanted)
    if isinstance(plan, Refusal):
        return
    assert wanted.model.precision in (Precision.AUTO, plan.precision)
    assert wanted.engine.name in (EngineName.AUTO, plan.engine)
    assert wanted.model.context_length in (None, plan.context_length)
    assert wanted.hardware.count in (None, plan.count)
    assert wanted.capacity.max_concurrent_requests in (None, plan.max_concurrent_requests)
    if wanted.hardware.accelerator not in ("Auto", "auto"):
        found = CATALOG.accelerator(wanted.hardware.accelerator)
        assert plan.accelerator == (found[0] if found else "cpu")


def independent_cache_bytes(plan: Plan) -> int:
    """Global layers whole, local layers at least their window: no engine may reserve less."""
    variant = CATALOG.variants[plan.variant]
    body = CATALOG.architectures[variant.architecture or ""]
    window = min(body.sliding_window or plan.context_length, plan.context_length)
    ranks = plan.tensor_parallel_size
    element = 1 if plan.precision is Precision.NVFP4 else 2
    total = 0
    for layers, heads, size, tokens in (
        (body.own_layers.local, body.kv_heads.local, body.head_size.local, window),
        (body.own_layers.global_, body.kv_heads.global_, body.head_size.global_, plan.context_length),
    ):
        total += layers * 2 * max(1, -(-heads // ranks)) * size * element * tokens
    return total


def independent_weight_bytes(plan: Plan) -> float:
    """At least 4 bits for every parameter of the text body, split over the ranks; 16 bits where BF16."""
    variant = CATALOG.variants[plan.variant]
    parameters = CATALOG.architectures[variant.architecture or ""].parameters
    text = parameters.used - parameters.vision - parameters.audio - parameters.projector
    bits = 16 if plan.precision in (Precision.BF16, Precision.FP16) else 4
    return text * bits / 8 / plan.tensor_parallel_size


@LAWS
@given(on_devices, st.none() | st.integers(1, 64), st.none() | st.sampled_from([512, 4096, 8192]))
def test_honest_the_sum_recomputed_stays_within_the_card(
    wanted: GemmaDeploymentSpec, requests: int | None, context: int | None
) -> None:
    changed = with_fragment(
        wanted, {"capacity": {"maxConcurrentRequests": requests}, "model": {"contextLength": context}}
    )
    assert changed is not None
    plan = answer(changed)
    if isinstance(plan, Refusal):
        return
    memory, device = plan.memory, CATALOG.accelerators[plan.accelerator]
    assert memory.usable_bytes <= device.memory_gib * GIB
    assert memory.weights_bytes >= independent_weight_bytes(plan)
    assert memory.kv_cache_bytes >= plan.max_concurrent_requests * independent_cache_bytes(plan)
    assert memory.overhead_bytes > 0
    assert memory.weights_bytes + memory.kv_cache_bytes + memory.overhead_bytes <= memory.usable_bytes
    assert memory.headroom_bytes >= 0


@LAWS
@given(on_devices)
def test_minimal_fewer_accelerators_would_not_fit(wanted: GemmaDeploymentSpec) -> None:
    plan = answer(wanted)
    if isinstance(plan, Refusal):
        return
    pinned = {"model": {"precision": plan.precision.value}, "engine": {"name": plan.engine.value}}
    for count in CATALOG.accelerators[plan.accelerator].counts:
        heads = CATALOG.architectures[CATALOG.variants[plan.variant].architecture or ""].attention_heads
        if count < plan.count and heads % count == 0:
            smaller = with_fragment(wanted, {**pinned, "hardware": {"count": count}})
            assert smaller is not None
            refusal = answer(smaller)
            assert isinstance(refusal, Refusal)
            assert refusal.reason is Reason.DOES_NOT_FIT


@LAWS
@given(on_devices)
def test_legal_ranks_divide_heads_and_exist_in_a_machine(wanted: GemmaDeploymentSpec) -> None:
    plan = answer(wanted)
    if isinstance(plan, Refusal):
        return
    device = CATALOG.accelerators[plan.accelerator]
    body = CATALOG.architectures[CATALOG.variants[plan.variant].architecture or ""]
    assert body.attention_heads % plan.tensor_parallel_size == 0
    assert plan.tensor_parallel_size == plan.count
    assert plan.count in device.counts
    assert device.parent is None or plan.count == 1


def fits(wanted: GemmaDeploymentSpec, fragment: dict[str, Any], catalog: Catalog = CATALOG) -> bool:
    changed = with_fragment(wanted, fragment)
    assert changed is not None
    return isinstance(answer(changed, catalog=catalog), Plan)


@LAWS
@given(on_devices, st.integers(64, 8192), st.integers(0, 100000))
def test_monotone_a_longer_context_never_fits_where_a_shorter_does_not(
    wanted: GemmaDeploymentSpec, context: int, more: int
) -> None:
    if fits(wanted, {"model": {"contextLength": context + more}}):
        assert fits(wanted, {"model": {"contextLength": context}})


@LAWS
@given(on_devices, st.integers(1, 300), st.integers(0, 300))
def test_monotone_more_requests_never_fit_where_fewer_do_not(
    wanted: GemmaDeploymentSpec, requests: int, more: int
) -> None:
    if fits(wanted, {"capacity": {"maxConcurrentRequests": requests + more}}):
        assert fits(wanted, {"capacity": {"maxConcurrentRequests": requests}})


def with_memory(key: str, memory_gib: float) -> Catalog:
    row: Accelerator = CATALOG.accelerators[key].model_copy(update={"memory_gib": memory_gib})
    return dataclasses.replace(CATALOG, accelerators={**CATALOG.accelerators, key: row})


@settings(LAWS, max_examples=60)
@given(on_devices, st.floats(1.0, 2.0), st.none() | st.integers(1, 16))
def test_monotone_more_memory_never_needs_more_ranks(
    wanted: GemmaDeploymentSpec, factor: float, requests: int | None
) -> None:
    """The precision is pinned: with `Auto` more memory may buy a better one."""
    first = answer(wanted)
    if isinstance(first, Refusal):
        return
    fragment = {
        "model": {"precision": first.precision.value},
        "engine": {"name": first.engine.value},
        "capacity": {"maxConcurrentRequests": requests},
    }
    pinned = with_fragment(wanted, fragment)
    assert pinned is not None
    base = answer(pinned)
    if isinstance(base, Refusal):
        return
    larger = with_memory(base.accelerator, CATALOG.accelerators[base.accelerator].memory_gib * factor)
    roomy = answer(pinned, catalog=larger)
    assert isinstance(roomy, Plan)
    assert roomy.tensor_parallel_size <= base.tensor_parallel_size


@LAWS
@given(st.sampled_from(SERVED), st.integers(1, 8), st.integers(1, 200000))
def test_window_law(variant: str, ranks: int, context: int) -> None:
    """Within the window local layers cost what full attention does; beyond it they stop growing."""
    body = CATALOG.architectures[CATALOG.variants[variant].architecture or ""]
    attention = attention_specs(body, ranks)
    window = body.sliding_window or context
    if context <= window:
        assert attention.ideal_bytes(context, 2) == attention.full_bytes(context, 2)
    else:
        growth = attention.ideal_bytes(context + 1, 2) - attention.ideal_bytes(context, 2)
        assert growth == attention.global_.bytes_per_token(2)
        assert attention.ideal_bytes(context, 2) < attention.full_bytes(context, 2)


@LAWS
@given(
    st.sampled_from(SERVED), st.integers(1, 8), st.integers(64, 200000), st.sampled_from([512, 2048, 8192])
)
def test_no_engine_reserves_less_than_the_ideal_cache(
    variant: str, ranks: int, context: int, step: int
) -> None:
    body = CATALOG.architectures[CATALOG.variants[variant].architecture or ""]
    attention = attention_specs(body, ranks)
    for cache in (
        VllmCache(attention, 2, step),
        TensorRTCache(attention, 2, step),
        LlamaCppCache(attention, 2, step),
    ):
        assert cache.request_bytes(context) >= attention.ideal_bytes(context, 2)
        assert cache.request_bytes(context + 64) >= cache.request_bytes(context)


@settings(LAWS, max_examples=60)
@given(specs())
def test_remedies_fit_as_they_say_the_cheapest_first(wanted: GemmaDeploymentSpec) -> None:
    refusal = answer(wanted)
    if isinstance(refusal, Plan):
        return
    assert len(refusal.remedies) <= 3
    costs = [remedy.hourly_cost for remedy in refusal.remedies]
    known = [cost for cost in costs if cost is not None]
    assert known == sorted(known)
    assert costs[: len(known)] == known
    for remedy in refusal.remedies:
        changed = with_fragment(wanted, remedy.spec_fragment)
        assert changed is not None
        plan = answer(changed)
        assert isinstance(plan, Plan)
        assert plan.outlook is not None
        assert plan.outlook.hourly_cost == remedy.hourly_cost
