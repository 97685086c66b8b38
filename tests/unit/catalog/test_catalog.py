"""The shipped rows: complete, joined, each with a source; and the questions the catalogue answers."""

from importlib import resources

import pytest
from tests.support.planning import CATALOG

from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.catalog import CatalogError, load_catalog
from gemma_operator.catalog.hardware_rows import SupportStatus
from gemma_operator.catalog.load import FILES

GEMMA = {
    "Gemma 1": {"2b", "7b"},
    "Gemma 1.1": {"2b", "7b"},
    "Gemma 2": {"2b", "9b", "27b"},
    "Gemma 3": {"270m", "1b", "4b", "12b", "27b"},
    "Gemma 3n": {"e2b", "e4b"},
    "Gemma 4": {"e2b", "e4b", "12b", "26b-a4b", "31b"},
}
RELATIVES = {
    "ShieldGemma",
    "ShieldGemma 2",
    "CodeGemma",
    "MedGemma",
    "TxGemma",
    "TranslateGemma",
    "FunctionGemma",
    "PaliGemma 2",
    "EmbeddingGemma",
    "EmbeddingGemma 2",
    "T5Gemma",
    "T5Gemma 2",
    "VaultGemma",
    "RecurrentGemma",
    "DiffusionGemma",
    "Gemma 4 drafter",
}


def test_every_generation_has_all_its_sizes() -> None:
    for generation, sizes in GEMMA.items():
        rows = [row for row in CATALOG.variants.values() if row.generation == generation]
        assert {row.size for row in rows} == sizes
        assert all(row.refusal is None for row in rows)


def test_every_relative_is_known() -> None:
    assert {row.generation for row in CATALOG.variants.values()} == set(GEMMA) | RELATIVES


def test_both_forms_of_every_size_are_there() -> None:
    for generation in set(GEMMA) - {"Gemma 1.1"}:
        for size in GEMMA[generation]:
            rows = [r for r in CATALOG.variants.values() if (r.generation, r.size) == (generation, size)]
            assert {row.form.value for row in rows} == {"pt", "it"}, (generation, size)


def test_every_row_names_its_source() -> None:
    rows = [
        *CATALOG.architectures.values(),
        *CATALOG.variants.values(),
        *(row for group in CATALOG.checkpoints.values() for row in group),
        *CATALOG.types.values(),
        *CATALOG.schemes.values(),
        *CATALOG.accelerators.values(),
        *CATALOG.engines,
        *CATALOG.support,
        *CATALOG.efficiencies,
        *CATALOG.prices.values(),
    ]
    assert len(rows) > 500
    assert all(row.source.strip() and row.confidence for row in rows)


def test_what_is_broken_has_its_reason_and_what_works_its_note() -> None:
    assert all(row.note for row in CATALOG.support)
    assert {row.status for row in CATALOG.support} == set(SupportStatus)


def test_each_engine_has_one_default_image() -> None:
    for engine in (EngineName.LLAMA_CPP, EngineName.VLLM, EngineName.TENSORRT_LLM):
        assert sum(row.default for row in CATALOG.engines if row.engine is engine) == 1
        assert CATALOG.engine_version(engine) is not None


def test_an_accelerator_is_found_by_key_alias_and_label() -> None:
    for name in ("nvidia-a100-40gb", "nvidia-tesla-a100", "A100-40GB"):
        found = CATALOG.accelerator(name)
        assert found is not None
        assert found[0] == "nvidia-a100-40gb"
    assert CATALOG.accelerator("nvidia-l5") is None


def test_partitions_follow_their_device_and_share_it() -> None:
    device = CATALOG.accelerators["nvidia-a100-40gb"]
    part = CATALOG.accelerators["nvidia-a100-40gb-mig-3g.20gb"]
    assert part.parent == "nvidia-a100-40gb"
    assert part.counts == (1,)
    assert part.resource_name == "nvidia.com/mig-3g.20gb"
    assert 0.4 < part.memory_gib / device.memory_gib < 0.5


def test_usable_memory_is_what_cuda_sees_and_less_than_the_box_says() -> None:
    nominal = {"nvidia-t4": 16, "nvidia-l4": 24, "nvidia-a100-80gb": 80, "nvidia-h100-80gb": 80}
    for key, gigabytes in nominal.items():
        assert CATALOG.accelerators[key].memory_gib < gigabytes


def test_native_checkpoints_need_no_row() -> None:
    rows = CATALOG.checkpoints_of("gemma-2-9b-it", Precision.BF16, EngineName.VLLM)
    assert rows[0].repository == "google/gemma-2-9b-it"
    at_load = CATALOG.checkpoints_of("gemma-2-9b-it", Precision.FP8, EngineName.VLLM)
    assert at_load[0].quantized_at_load


def test_the_demo_model_is_the_measured_file() -> None:
    (row,) = CATALOG.checkpoints_of("gemma-3-270m", Precision.Q4_K_M, EngineName.LLAMA_CPP)
    assert row.file_bytes == 253_113_024
    assert row.files == (row.entry,)
    assert row.gated is False


def test_gated_licences_are_those_of_the_gemma_terms() -> None:
    for key, row in CATALOG.variants.items():
        assert row.gated == (row.licence != "Apache-2.0"), key


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("gemma-3-4b", "gemma-3-4b-it"),
        ("gemma-4-30b-it", "gemma-4-31b-it"),
        ("gema-3-27b-it", "gemma-3-27b-it"),
    ],
)
def test_the_nearest_variant_is_what_was_meant(name: str, first: str) -> None:
    assert CATALOG.nearest_variants(name)[0] == first


def test_all_data_files_are_read() -> None:
    folder = resources.files("gemma_operator.catalog") / "data"
    assert {item.name for item in folder.iterdir() if item.name.endswith(".yaml")} == set(FILES)


def test_loading_twice_gives_the_same_rows() -> None:
    again = load_catalog()
    assert again.variants == CATALOG.variants
    assert again.support == CATALOG.support


def test_an_unknown_architecture_key_is_an_error() -> None:
    assert issubclass(CatalogError, ValueError)
    with pytest.raises(KeyError):
        CATALOG.architecture_of(CATALOG.variants["embeddinggemma-300m"])
