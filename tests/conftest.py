from pathlib import Path

import pytest

SHARED = {"apiserver": "control-plane", "faults": "control-plane"}
"""Rooms that use one cluster; every other room has its own."""
PLATFORM = {"test_door", "test_monitoring", "test_packaging", "test_scaling_metrics", "test_secrets"}
"""Modules of tests/cluster that go to a second cluster, so that neither half takes much longer."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under `-n … --dist loadgroup` a cluster or a Triton is made once, and used by one worker.

    Comes last, when every room has marked its tests.
    """
    here = Path(__file__).parent
    for item in items:
        if {"cluster", "triton"} & {marker.name for marker in item.iter_markers()}:
            room = item.path.relative_to(here).parts[0]
            half = "-platform" if item.path.stem in PLATFORM else ""
            item.add_marker(pytest.mark.xdist_group(SHARED.get(room, room) + half))
