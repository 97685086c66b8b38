"""Where promtool is: built by devcluster, never taken from the PATH, whose version nobody pinned."""

from pathlib import Path

import pytest

from gemma_devcluster.builder import cache_folder, content_hash, go_version
from gemma_devcluster.toolsets import TOOL_SETS


@pytest.fixture(scope="session")
def promtool() -> Path:
    tool_set = next(each for each in TOOL_SETS if each.name == "promtool")
    path = cache_folder() / f"promtool-{content_hash(tool_set, go_version())}" / "promtool"
    if not path.is_file():
        pytest.fail(
            "promtool is missing and nothing can test rules without it: run `.venv/bin/devcluster binaries`"
        )
    return path
