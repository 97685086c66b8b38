"""How long a pod took to serve, and what was predicted."""

from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.v1alpha1 import StartupPhaseName, StartupStatus
from gemma_operator.status.startup import Startup, startup_of, startup_status
from support.children import condition, pod
from support.plans import CPU_PLAN

SCHEDULED, PULLED, WEIGHTS, SERVING = StartupPhaseName


def at(minute: int, second: int = 0) -> str:
    return f"2026-11-25T02:{minute:02}:{second:02}Z"


def init(name: str, began: str, finished: str) -> Manifest:
    ended = {"exitCode": 0, "startedAt": began, "finishedAt": finished}
    return {"name": name, "state": {"terminated": ended}, "restartCount": 0}


def engine(since: str, restarts: int = 0) -> Manifest:
    return {"name": "triton", "state": {"running": {"startedAt": since}}, "restartCount": restarts}


def served(**changes: Any) -> Manifest:
    parts: dict[str, Any] = {
        "conditions": [condition("PodScheduled", "True", at=at(1)), condition("Ready", "True", at=at(9))],
        "init": [init("repository", at(3), at(3, 10)), init("weights", at(3, 10), at(5))],
        "containers": [engine(at(7))],
    }
    return pod(**{**parts, **changes})


def test_each_phase_has_its_seconds() -> None:
    """Scheduled for 1 min, weights for 110 s, serving after 2 min; the other 4 min are pulls and volumes."""
    assert startup_of(served()) == Startup({SCHEDULED: 60, PULLED: 240, SERVING: 120, WEIGHTS: 110})


def test_without_a_fetch_there_is_no_such_phase() -> None:
    found = startup_of(served(init=[init("repository", at(3), at(3, 10))]))
    assert found is not None
    assert WEIGHTS not in found.seconds


@pytest.mark.parametrize(
    "changes",
    [{"containers": [engine(at(7), restarts=1)]}, {"containers": []}, {"conditions": []}],
    ids=["restarted", "no engine", "nothing known"],
)
def test_what_was_no_first_start_tells_nothing(changes: dict[str, Any]) -> None:
    assert startup_of(served(**changes)) is None


def predicted() -> list[StartupStatus]:
    return startup_status(CPU_PLAN, True, [], [], False)


def test_what_the_plan_counts_on_is_told_before_anything_runs() -> None:
    assert [(entry.phase, entry.seconds) for entry in predicted()] == [(WEIGHTS, None), (SERVING, None)]
    assert all(entry.predicted_seconds is not None for entry in predicted())


def test_what_was_observed_stands_beside_what_was_predicted() -> None:
    told = startup_status(CPU_PLAN, True, [Startup({SCHEDULED: 1, SERVING: 9})], predicted(), True)
    assert [(entry.phase, entry.seconds) for entry in told] == [(SCHEDULED, 1), (WEIGHTS, None), (SERVING, 9)]


def test_later_pods_of_a_template_change_nothing() -> None:
    told = startup_status(CPU_PLAN, True, [Startup({SERVING: 9})], predicted(), True)
    assert startup_status(CPU_PLAN, True, [Startup({SERVING: 99})], told, True) == told
    assert startup_status(CPU_PLAN, True, [], told, True) == told


def test_another_template_begins_a_ledger_of_its_own() -> None:
    told = startup_status(CPU_PLAN, True, [Startup({SERVING: 9})], predicted(), True)
    assert startup_status(CPU_PLAN, True, [], told, False) == predicted()


def test_without_a_plan_it_stays_as_it_was() -> None:
    assert startup_status(None, True, [], predicted(), False) == predicted()
