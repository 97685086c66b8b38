from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

PLATFORM = {"test_door", "test_monitoring", "test_packaging", "test_scaling_metrics", "test_secrets"}
"""Modules of tests/cluster that go to a second cluster, so that neither half takes much longer."""
CONTROL_PLANE = {"apiserver", "faults"}
"""Rooms that use one cluster; every other room has its own."""


class RoomScheduling(LoadScopeScheduling):
    """A room's tests on one worker: a cluster or a Triton is made once."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        room = path.parts[1]
        if room in CONTROL_PLANE:
            return "control-plane"
        return f"{room}-platform" if path.stem in PLATFORM else room


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> RoomScheduling | None:
    """For `--dist loadscope`. Not `loadgroup`: xdist 3.8 marks groups where pytest 9.2 no longer reads."""
    return RoomScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")
