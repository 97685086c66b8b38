from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_devcluster.mirror import WeightsMirror
from support.hub import Fetcher, write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models")


@pytest.fixture
def mirror(model: Path) -> Iterator[WeightsMirror]:
    with WeightsMirror(model.parents[1]) as server:
        yield server


@pytest.fixture
def fetcher(mirror: WeightsMirror, tmp_path: Path) -> Fetcher:
    return Fetcher(mirror, tmp_path / "volume")
