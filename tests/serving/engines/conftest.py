"""The engines under the conformance suite: each entry says what is real about it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from gemma_serving.engines import Engine
from support.engine_cases import CASES, DEFAULT_CASES, EngineCase

CHOSEN = os.environ.get("GEMMA_ENGINE_CASES", ",".join(DEFAULT_CASES)).split(",")
"""Engines whose library this environment has; vLLM has one of its own (test_vllm_on_cpu.py)."""


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """An engine sets variables for its libraries, in a process of its own; here others come after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module", params=CHOSEN, ids=str)
def case(request: pytest.FixtureRequest) -> EngineCase:
    return CASES[request.param]()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(case: EngineCase) -> AsyncIterator[Engine]:
    """One loaded engine for the whole module."""
    engine = case.create()
    await engine.load(case.config)
    yield engine
    await engine.close()
