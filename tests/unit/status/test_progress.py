"""What is made of a fetcher's last line."""

from typing import Any

import pytest

from gemma_operator.status.progress import Progress, read_progress


@pytest.mark.parametrize(
    ("progress", "sentence"),
    [
        (
            Progress(12_300_000_000, 54_900_000_000, 210_000_000, 203),
            "12.3 of 54.9 GB, 210.0 MB/s, about 3 min left",
        ),
        (Progress(100_000_000, 253_100_000, 4_000_000, 38), "100.0 of 253.1 MB, 4.0 MB/s, about 38 s left"),
        (Progress(0, 253_100_000), "0.0 of 253.1 MB"),
        (Progress(5, 90, 0), "5.0 of 90.0 B"),
    ],
)  # fmt: skip
def test_progress_is_one_sentence(progress: Progress, sentence: str) -> None:
    assert progress.sentence() == sentence


@pytest.mark.parametrize(
    "line",
    [
        None,
        "killed",
        7,
        {},
        {"bytes_done": 0, "bytes_total": 0, "message": "another pod is fetching into this volume"},
        {"bytes_done": "many", "bytes_total": 9},
        {"bytes_done": -1, "bytes_total": 9},
    ],
)
def test_what_says_nothing_about_bytes_is_no_progress(line: Any) -> None:
    assert read_progress(line, "weights") is None


def test_unknown_rate_and_time_left_are_left_out() -> None:
    line = {"bytes_done": 1, "bytes_total": 9, "bytes_per_second": None, "eta_seconds": "soon", "revision": 7}
    assert read_progress(line, "weights") == Progress(1, 9, container="weights")
