"""The planner held against other people's logs (tests/data/planning): the bounds that docs/sizing.md
promises."""

import csv
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.planning import CATALOG

from gemma_operator.catalog.recipes import recipe_for, shipped_recipes
from gemma_operator.planning.logged import ASSUMED_SEQUENCES, LogRow, start_of
from gemma_operator.planning.points import Prediction, predict_memory
from gemma_operator.planning.throughput_points import SpeedPrediction, predict_throughput

DATA = Path(__file__).resolve().parents[2] / "data" / "planning"
MANIFEST_THAT_CANNOT_RUN = "P190"
"""A published manifest, not a measurement: 31B BF16 on 4 x L4 at 0.80 with 131,072 tokens. Weights leave 2.6
GiB per card, and one request needs 2.8 GiB with the smallest step, before any overhead."""


def rows(name: str) -> list[LogRow]:
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def memory() -> list[Prediction]:
    return predict_memory(rows("memory-points.csv"), CATALOG)


@pytest.fixture(scope="module")
def speed() -> list[SpeedPrediction]:
    return predict_throughput(rows("throughput-points.csv"), CATALOG)


def errors(predictions: list[Prediction], kind: str, basis: str) -> list[float]:
    return [
        abs(p.error)
        for p in predictions
        if p.error is not None
        and p.row["kind"] == kind
        and p.row["confidence"] == "high"
        and p.basis.startswith(basis)
    ]


def test_weights_are_within_one_percent_on_average(memory: list[Prediction]) -> None:
    found = errors(memory, "weights", "weights")
    assert len(found) >= 11
    assert statistics.mean(found) <= 0.01
    assert max(found) <= 0.03


def test_tokens_and_concurrency_follow_from_logged_memory(memory: list[Prediction]) -> None:
    found = errors(memory, "kv_tokens", "KV memory logged")
    assert len(found) >= 15
    assert statistics.mean(found) <= 0.03
    assert max(found) <= 0.10


def test_kv_memory_from_the_card_is_within_eight_percent_on_average(memory: list[Prediction]) -> None:
    found = [
        abs(p.error)
        for p in memory
        if p.error is not None
        and p.basis == "KV memory from the card"
        and p.row["kind"] in ("kv_memory", "kv_tokens")
        and p.row["confidence"] == "high"
    ]
    assert len(found) >= 12
    assert statistics.mean(found) <= 0.08
    assert max(found) <= 0.10


def test_public_starts_that_no_constant_was_chosen_with_are_within_eight_percent() -> None:
    held = predict_memory(rows("held-out-points.csv"), CATALOG)
    found = {
        p.row["id"]: abs(p.error)
        for p in held
        if p.error is not None and p.basis == "KV memory from the card" and p.row["confidence"] == "high"
    }
    assert set(found) == {"H02", "H03", "H05", "H07"}
    assert max(found.values()) <= 0.08


def test_a_row_that_cites_a_recipe_gets_its_flags_unless_it_states_them() -> None:
    (row,) = [row for row in rows("memory-points.csv") if row["id"] == "P029"]
    cited = start_of(row, CATALOG)
    alone = start_of({**row, "source": ""}, CATALOG)
    stated = start_of({**row, "max_num_seqs": "16", "max_num_batched_tokens": "1024"}, CATALOG, 1024)
    assert cited is not None
    assert alone is not None
    assert stated is not None
    assert (cited.max_sequences, cited.batched_tokens, cited.images) == (256, 4096, False)
    assert (alone.max_sequences, alone.batched_tokens, alone.images) == (ASSUMED_SEQUENCES, 2496, True)
    assert (stated.max_sequences, stated.batched_tokens) == (16, 1024)


def test_recipes_name_bodies_of_the_catalogue_and_their_public_place() -> None:
    for recipe in shipped_recipes():
        assert recipe.architecture in CATALOG.architectures
        assert recipe.source.startswith("github.com/")
    assert recipe_for("github.com/somebody/else", "gemma-4-31b", 4) is None


def test_what_ran_out_of_memory_is_refused(memory: list[Prediction]) -> None:
    negative = [p for p in memory if p.row["kind"] == "negative"]
    assert len(negative) == 3
    assert all(p.predicted == 0 for p in negative), [p.row["id"] for p in negative if p.predicted]


def test_what_ran_is_not_refused(memory: list[Prediction]) -> None:
    ran = [
        p for p in memory if p.row["metric"] == "fits" and p.row["value"] == "1" and p.predicted is not None
    ]
    assert len(ran) == 20
    assert [p.row["id"] for p in ran if p.predicted == 0] == [MANIFEST_THAT_CANNOT_RUN]


def test_every_row_is_answered_or_says_why_not(
    memory: list[Prediction], speed: list[SpeedPrediction]
) -> None:
    assert len(memory) == 150
    assert all(p.basis for p in memory)
    assert len(speed) == 45
    assert all(p.metric for p in speed)


def test_decode_speed_is_within_its_bounds(speed: list[SpeedPrediction]) -> None:
    compared = [p for p in speed if p.error is not None and p.row["confidence"] != "low"]
    found = [abs(p.error or 0.0) for p in compared]
    assert len(found) >= 30
    assert statistics.median(found) <= 0.15
    assert max(found) <= 0.30
    assert sum(bool(p.covered) for p in compared) / len(compared) >= 0.90


def test_a_row_takes_version_memory_and_steps_from_itself() -> None:
    row = {
        "model": "gemma-4-31B-it",
        "precision": "int4 w4a16-ct (QAT)",
        "kv_dtype": "fp8",
        "gpu": "4x RTX 3090 24GB",
        "gpu_mem_gib_visible": "23.6",
        "tp": "4",
        "engine_version": "vLLM 0.25.1 + MTP n=2",
        "max_model_len": "262144",
        "gpu_mem_util": "0.95",
        "metric": "max_concurrency",
        "notes": "max_num_batched_tokens 4096",
    }
    start = start_of(row, CATALOG)
    assert start is not None
    assert (start.version, start.version_given) == ((0, 25, 1), True)
    assert (start.device_gib, start.utilization, start.tensor_parallel_size) == (23.6, 0.95, 4)
    assert (start.scheme, start.kv_element_bytes, start.drafter) == ("w4a16_ct", 1, True)
    assert start.accelerator == "nvidia-rtx-3090"


@pytest.mark.parametrize(
    ("stated", "size"), [("fp8", 1), ("int8_per_token_head", 1), ("bf16", 2), ("fp16", 2), ("", 2)]
)
def test_the_caches_type_is_taken_from_the_row(stated: str, size: int) -> None:
    start = start_of({**rows("memory-points.csv")[0], "kv_dtype": stated}, CATALOG)
    assert start is not None
    assert start.kv_element_bytes == size


def test_a_model_that_is_not_gemma_is_not_guessed_at() -> None:
    row = {**rows("memory-points.csv")[0], "model": "Qwen/Qwen3-32B"}
    (prediction,) = predict_memory([row], CATALOG)
    assert prediction.predicted is None
    assert prediction.basis == "the catalogue has no such model"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_rows_with_missing_or_strange_cells_are_answered_all_the_same(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["memory-points.csv", "throughput-points.csv"]))
    row = dict(data.draw(st.sampled_from(rows(name))))
    for column in data.draw(st.sets(st.sampled_from(sorted(row)))):
        row[column] = data.draw(st.sampled_from(["", "~12", "n/a", "1", "0", "vLLM 0.33.1", "H100 x 2"]))
    predict = predict_memory if name.startswith("memory") else predict_throughput
    assert len(predict([row], CATALOG)) == 1
