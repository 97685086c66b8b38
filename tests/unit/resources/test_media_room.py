"""Media of a request fit where Triton hands them over."""

from pathlib import Path
from typing import Any

import pytest

from gemma_operator.api.quantity import GIB, MIB, parse_bytes
from gemma_operator.api.read import read_spec
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import MediaSpec
from gemma_operator.cli.documents import read_resources
from gemma_operator.planning.media import EXCHANGE_BYTES, IMAGE_SIDE, item_bytes
from gemma_serving.gateway.media.worker import MAX_SIDE
from support.planning import planned, refused, spec

SHAPES = sorted((Path(__file__).parents[2] / "data" / "shapes").glob("*.yaml"))
RAW_BYTES = 3 * MAX_SIDE**2
"""The largest image that the gateway hands on, where nothing of it can be compressed."""


def hearing(**media: Any) -> Any:
    return spec("gemma-4-e2b-it", hardware={"accelerator": "nvidia-l4"}, media=media)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda path: path.stem)
def test_shared_memory_holds_the_media_of_the_largest_request(shape: Path) -> None:
    (resource,) = read_resources(str(shape))
    wanted = read_spec(resource, strict=True)
    plan = planned(wanted)
    if plan.modalities != ("text",):
        each = max(RAW_BYTES, parse_bytes(wanted.media.max_item_size) if "audio" in plan.modalities else 0)
        assert wanted.media.max_items * each + EXCHANGE_BYTES <= plan.host.shared_memory_bytes


def test_an_image_counts_as_the_gateway_hands_it_on() -> None:
    assert IMAGE_SIDE == MAX_SIDE
    assert RAW_BYTES < item_bytes(MediaSpec(), ["image"]) < RAW_BYTES * 1.02
    assert item_bytes(MediaSpec(max_item_size="1Gi"), ["image"]) == item_bytes(MediaSpec(), ["image"])
    assert item_bytes(MediaSpec(max_pixels=1000), ["image"]) < 4000


def test_shared_memory_and_the_host_memory_that_holds_it_grow_with_what_a_request_may_bring() -> None:
    usual, large = planned(hearing()), planned(hearing(maxItems=8, maxItemSize="220Mi"))
    assert usual.host.shared_memory_bytes == 2 * GIB
    assert large.host.shared_memory_bytes == 8 * 220 * MIB + EXCHANGE_BYTES
    grown = large.host.shared_memory_bytes - usual.host.shared_memory_bytes
    assert large.host.memory_bytes - usual.host.memory_bytes == grown


def test_media_that_no_request_could_bring_are_refused_with_the_numbers() -> None:
    refusal = refused(hearing(maxItems=16, maxItemSize="200Mi"))
    assert refusal.reason is Reason.DOES_NOT_FIT
    assert "media.maxItems 16 x 200 MiB" in refusal.message
    assert "3.12 GiB" in refusal.message
    assert "media.maxItems to 9 or less, or media.maxItemSize to 123Mi" in refusal.message
    planned(hearing(maxItems=9, maxItemSize="200Mi"))
    planned(hearing(maxItems=16, maxItemSize="123Mi"))


def test_an_item_larger_than_a_request_is_told_what_it_may_be() -> None:
    assert "set media.maxItemSize to 1983Mi" in refused(hearing(maxItems=1, maxItemSize="4Gi")).message
