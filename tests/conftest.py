from pathlib import Path

import pytest
from hypothesis import settings

# Laws are about results: how long one example takes is this machine's load.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

PLATFORM = {
    "test_buckets",
    "test_door",
    "test_monitoring",
    "test_packaging",
    "test_scaling_metrics",
    "test_secrets",
}
"""Modules of tests/cluster that go to a second cluster, so that neither half takes much longer."""
CONTROL_PLANE = {"apiserver", "faults"}
"""Rooms that use one cluster; every other room has its own."""
LONGEST_FIRST = ("cluster", "control-plane", "cluster-platform", "serving", "devcluster")
"""740, 720, 620, 230 and 90 s (3 workers on 2 cores, 2026-11), so that none is left over at the end. A fourth
worker, with a third cluster of pods, made it 1,125 s instead of 980."""


def group_of(path: Path) -> str:
    """Tests that run on one worker: a cluster or a Triton is made once for them."""
    room = path.parts[1]
    if room in CONTROL_PLANE:
        return "control-plane"
    return f"{room}-platform" if path.stem in PLATFORM else room


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """For `--dist loadscope`. Not `loadgroup`: xdist 3.8 marks groups where pytest 9.2 no longer reads."""
    if config.getvalue("dist") != "loadscope":
        return None
    # vLLM's environment runs some of these tests, and has no xdist.
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415

    class RoomScheduling(LoadScopeScheduling):
        """A group's tests on one worker, the longest group first."""

        def _split_scope(self, nodeid: str) -> str:
            return group_of(Path(nodeid.partition("::")[0]))

    # Its own order, by the number of tests, puts the longest last.
    config.option.loadscopereorder = False
    return RoomScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        group = group_of(item.path.relative_to(config.rootpath))
        return LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")
