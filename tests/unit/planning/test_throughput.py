"""The throughput model: against own measurements on CPU, and the shape it must have on GPUs."""

from dataclasses import replace

import pytest
from tests.support.planning import CATALOG

from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.planning.throughput import (
    Load,
    Machine,
    cpu_speed,
    efficiency_of,
    gpu_speed,
    touched_bytes,
)
from gemma_operator.planning.weights import weight_layout

SHORT_PROMPT, ANSWER = 8, 300
"""The load of the measurements: 7 to 9 prompt tokens, greedy."""


def machine(key: str, ranks: int = 1, engine: EngineName = EngineName.VLLM) -> Machine:
    return Machine(CATALOG.accelerators[key], engine, ranks)


@pytest.mark.parametrize(("streams", "measured"), [(1, 76), (8, 195), (16, 208)])
def test_gemma_3_270m_on_two_threads_is_as_fast_as_measured(streams: int, measured: float) -> None:
    speed = cpu_speed(CATALOG, "gemma-3-270m", "gguf_q4_k_m", 2, Load(streams, SHORT_PROMPT, ANSWER))
    assert speed.total.expected == pytest.approx(measured, rel=0.15)
    assert speed.total.low < measured < speed.total.high


def test_prefill_on_two_threads_is_as_fast_as_measured() -> None:
    """590 to 670 tokens/s."""
    long = cpu_speed(CATALOG, "gemma-3-270m", "gguf_q4_k_m", 2, Load(1, 2000, 1))
    short = cpu_speed(CATALOG, "gemma-3-270m", "gguf_q4_k_m", 2, Load(1, 1000, 1))
    seconds = long.time_to_first_token.expected - short.time_to_first_token.expected
    assert 1000 / seconds == pytest.approx(630, rel=0.15)


def test_two_ranks_are_faster_than_one_and_slower_than_twice_as_fast() -> None:
    one, two = (
        gpu_speed(
            CATALOG, "gemma-3-27b", "bf16", machine("nvidia-h100-80gb", ranks), Load(1)
        ).per_request.expected
        for ranks in (1, 2)
    )
    assert one < two < 2 * one


def test_a_batch_shares_the_weights() -> None:
    one, many = (
        gpu_speed(CATALOG, "gemma-3-27b", "bf16", machine("nvidia-h100-80gb"), Load(n, 16)).total.expected
        for n in (1, 16)
    )
    assert many > 8 * one


def test_long_prompts_slow_the_streams_of_others() -> None:
    short, long = (
        gpu_speed(CATALOG, "gemma-3-27b", "bf16", machine("nvidia-h100-80gb"), Load(16, n)).token_seconds
        for n in (64, 4096)
    )
    assert long > 1.5 * short


def test_a_mixture_reads_more_experts_the_more_requests_there_are() -> None:
    body = CATALOG.architectures["gemma-4-26b-a4b"]
    layout = weight_layout(CATALOG, "gemma-4-26b-a4b", "bf16", EngineName.VLLM, 1)
    reads = [touched_bytes(body, layout, requests) for requests in (1, 8, 1000)]
    assert reads[0] == pytest.approx(layout.read_bytes_per_token)
    assert reads[0] < reads[1] < reads[2]
    dense = layout.read_bytes_per_token - layout.expert_bytes * 8 / 128
    assert reads[2] == pytest.approx(dense + layout.expert_bytes)


def test_windows_bound_what_a_long_context_reads() -> None:
    short, long = (
        gpu_speed(CATALOG, "gemma-3-27b", "bf16", machine("nvidia-h100-80gb"), Load(8, n, 1)).step_seconds
        for n in (1024, 65536)
    )
    assert long < 3 * short


def test_a_class_without_anchor_gets_the_general_row_and_its_wide_band() -> None:
    calibrated = efficiency_of(CATALOG, "hopper", EngineName.VLLM, "fp8")
    general = efficiency_of(CATALOG, "turing", EngineName.VLLM, "bf16")
    assert general.throughput_class == "any"
    assert general.band > calibrated.band


def test_an_engine_without_rows_is_an_error() -> None:
    with pytest.raises(LookupError):
        efficiency_of(replace(CATALOG, efficiencies=()), "hopper", EngineName.VLLM, "bf16")
