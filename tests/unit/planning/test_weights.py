"""Weights by tensor group: against published file sizes and against what engines logged after loading."""

import pytest
from tests.support.planning import CATALOG

from gemma_operator.api.quantity import GIB
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.planning.weights import weight_layout

VLLM, TENSORRT, LLAMA_CPP = EngineName.VLLM, EngineName.TENSORRT_LLM, EngineName.LLAMA_CPP


@pytest.mark.parametrize("key", [key for key in CATALOG.architectures if key.startswith("gemma")])
def test_groups_add_up_to_the_published_parameters(key: str) -> None:
    layout = weight_layout(CATALOG, key, "bf16", VLLM, 1)
    stored = sum(group.parameters for group in layout.groups if group.in_file)
    assert stored == CATALOG.architectures[key].parameters.file


@pytest.mark.parametrize(
    ("architecture", "scheme", "published_bytes"),
    [
        ("gemma-3-270m", "gguf_q4_k_m", 253_113_024),
        ("gemma-3-12b", "gguf_q4_k_m", 6.79 * GIB),
        ("gemma-4-26b-a4b", "gguf_q4_k_m", 16.9e9),
        ("gemma-3-27b", "gguf_q4_0_f16", 17.23e9),
        ("gemma-3-1b", "gguf_q4_0_f16", 1.00e9),
        ("gemma-4-31b", "gguf_q4_0", 17.65e9),
        ("gemma-4-12b", "gguf_q4_0", 6.98e9),
        ("gemma-4-26b-a4b", "gguf_q4_0", 14.44e9),
        ("gemma-4-e4b", "gguf_q4_0", 5.15e9),
    ],
)
def test_gguf_files_have_the_published_size(architecture: str, scheme: str, published_bytes: float) -> None:
    layout = weight_layout(CATALOG, architecture, scheme, LLAMA_CPP, 1)
    assert layout.file_bytes == pytest.approx(published_bytes, rel=0.005)


@pytest.mark.parametrize(
    ("architecture", "scheme", "published_gb"),
    [
        ("gemma-4-31b", "nvfp4_mlp", 32.7),
        ("gemma-4-26b-a4b", "nvfp4_experts", 19.0),
        ("gemma-4-31b", "w4a16_ct", 23.3),
        ("gemma-4-12b", "w4a16_ct_unified", 10.3),
        ("gemma-4-26b-a4b", "awq_g32", 17.19),
    ],
)
def test_checkpoints_have_the_published_size(architecture: str, scheme: str, published_gb: float) -> None:
    layout = weight_layout(CATALOG, architecture, scheme, VLLM, 1)
    assert layout.file_bytes / 1e9 == pytest.approx(published_gb, rel=0.015)


@pytest.mark.parametrize(
    ("architecture", "scheme", "ranks", "logged_gib"),
    [
        ("gemma-4-31b", "bf16", 1, 58.99),
        ("gemma-4-26b-a4b", "bf16", 1, 48.5),
        ("gemma-4-12b", "bf16", 1, 22.73),
        ("gemma-4-e2b", "bf16", 1, 9.80),
        ("gemma-3-27b", "bf16", 1, 51.45),
        ("gemma-4-31b", "nvfp4_mlp", 1, 31.04),
        ("gemma-4-e2b", "w4a16_ct", 1, 8.01),
        ("gemma-3-12b", "w4a16_g128", 4, 2.54),
    ],
)
def test_vllm_loads_what_its_logs_say(architecture: str, scheme: str, ranks: int, logged_gib: float) -> None:
    loaded = weight_layout(CATALOG, architecture, scheme, VLLM, ranks).loaded_bytes / GIB
    assert loaded == pytest.approx(logged_gib, rel=0.03)


def test_a_key_head_that_ranks_cannot_divide_is_replicated() -> None:
    """Gemma 4 31B has 4 global KV heads: eight ranks hold each twice."""
    groups = {g.name: g for g in weight_layout(CATALOG, "gemma-4-31b", "bf16", VLLM, 8).groups}
    assert groups["replicated_kv"].parameters == 2 * 10 * 5376 * 512 * (8 - 4)
    assert "replicated_kv" not in {
        g.name for g in weight_layout(CATALOG, "gemma-4-31b", "bf16", VLLM, 4).groups
    }


def test_tensorrt_drops_projections_that_no_layer_reads() -> None:
    layout = weight_layout(CATALOG, "gemma-4-e2b", "bf16", TENSORRT, 1)
    dropped = next(group for group in layout.groups if group.name == "dropped_kv")
    assert dropped.parameters == 5_104_297_539 - 5_123_178_051
    assert layout.load_peak_bytes == 2 * 2_348_810_240


def test_a_mixture_reads_its_active_experts_and_keeps_them_all() -> None:
    layout = weight_layout(CATALOG, "gemma-4-26b-a4b", "bf16", VLLM, 1)
    assert layout.expert_bytes == 2 * 22_837_985_280
    assert 3.5e9 < layout.active_parameters < 4.1e9
    assert layout.read_bytes_per_token == pytest.approx(2 * layout.active_parameters, rel=0.01)
