"""Media of a request fit where Triton hands them over."""

from pathlib import Path

import pytest

from gemma_operator.api.quantity import MIB
from gemma_operator.api.read import read_spec
from gemma_operator.cli.documents import read_resources
from gemma_serving.contract import MediaConfig
from support.planning import planned

SHAPES = sorted((Path(__file__).parents[2] / "data" / "shapes").glob("*.yaml"))
EXCHANGE_BYTES = 512 * MIB
"""What ranks and engine processes exchange beside media."""


@pytest.mark.parametrize("shape", SHAPES, ids=lambda path: path.stem)
def test_shared_memory_holds_the_media_of_the_largest_request(shape: Path) -> None:
    (resource,) = read_resources(str(shape))
    plan = planned(read_spec(resource, strict=True))
    if plan.modalities != ("text",):
        media = MediaConfig()
        assert media.max_items * media.max_bytes + EXCHANGE_BYTES <= plan.host.shared_memory_bytes
