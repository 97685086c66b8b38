"""docs/sizing.md says what the planner says: its tables are generated, and fresh."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_tables_are_what_the_planner_answers_today() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.planning.report", "--verify"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
