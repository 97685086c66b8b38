"""A cluster of our own for these tests, and the one program its pods run."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gemma_devcluster.archives import scratch_image, scratch_image_name
from gemma_devcluster.cluster import Cluster

PROBE = Path(__file__).parent / "probe"


@dataclass(frozen=True)
class ProbeImage:
    """The test pods' image: its name in the cluster and its archive."""

    name: str
    archive: Path


@pytest.fixture(scope="session")
def probe_image(tmp_path_factory: pytest.TempPathFactory) -> ProbeImage:
    folder = tmp_path_factory.mktemp("probe")
    program, archive = folder / "probe", folder / "probe.tar"
    environment = {**os.environ, "CGO_ENABLED": "0"}
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(program), "."]
    subprocess.run(command, cwd=PROBE, env=environment, check=True)
    archive.write_bytes(scratch_image(program))
    return ProbeImage(scratch_image_name(program), archive)


@pytest.fixture(scope="session")
def state_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def cluster(state_root: Path, probe_image: ProbeImage) -> Iterator[Cluster]:
    cluster = Cluster("own", state_root, gpus={"nvidia-l4": 2})
    try:
        cluster.up()
        cluster.load_image(probe_image.archive)
        yield cluster
    finally:
        cluster.down()
