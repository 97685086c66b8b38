from pathlib import Path

import pytest

REAL = {"apiserver", "cluster", "devcluster", "faults", "serving"}
"""Rooms with tests on a real cluster or a real Triton."""
SHARED = {"apiserver": "control-plane", "faults": "control-plane"}
"""Rooms that use one cluster; every other room has its own."""
PLATFORM = {"test_door", "test_monitoring", "test_packaging", "test_scaling_metrics", "test_secrets"}
"""Modules of tests/cluster that go to a second cluster, so that neither half takes much longer."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under `-n … --dist loadgroup` a cluster or a Triton is made once, and used by one worker.

    Comes first, because xdist then reads the groups.
    """
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0]
        if room in REAL:
            half = "-platform" if item.path.stem in PLATFORM else ""
            item.add_marker(pytest.mark.xdist_group(SHARED.get(room, room) + half))
