import json
from dataclasses import dataclass, field
from pathlib import Path

from gemma_serving.weights.outcome import human_bytes
from gemma_serving.weights.progress import INTERVAL_SECONDS, Progress


@dataclass
class Clock:
    now: float = 100.0
    lines: list[str] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


def started(tmp_path: Path, done: int = 0) -> tuple[Progress, Clock]:
    clock = Clock()
    progress = Progress(tmp_path / "progress.json", write=clock.lines.append, clock=clock)
    progress.begin("c" * 40, done, 1000)
    return progress, clock


def test_lines_come_no_faster_than_the_interval(tmp_path: Path) -> None:
    progress, clock = started(tmp_path)
    for _ in range(100):
        clock.now += INTERVAL_SECONDS / 10
        progress.advance(1)
    assert 10 <= len(clock.lines) <= 11


def test_the_rate_counts_only_what_this_run_transferred(tmp_path: Path) -> None:
    progress, clock = started(tmp_path, done=600)
    clock.now += 2.0
    progress.advance(200)
    said = json.loads(clock.lines[-1])
    assert said["bytes_done"] == 800
    assert said["bytes_per_second"] == 100
    assert said["eta_seconds"] == 2


def test_the_file_holds_the_latest_line(tmp_path: Path) -> None:
    progress, clock = started(tmp_path)
    clock.now += 2.0
    progress.advance(10)
    assert (tmp_path / "progress.json").read_text() == clock.lines[-1]


def test_sizes_are_shown_in_decimal_units() -> None:
    assert [human_bytes(n) for n in (0, 999, 1000, 253_113_024, 5.4e10)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "253.1 MB",
        "54.0 GB",
    ]
