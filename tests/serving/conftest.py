"""A real tritonserver with the real Gemma 3 270M, shared by the tests that only ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.triton_runtime import TritonServer, gemma_270m_config


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Four slots of 1,024 tokens on one thread; nobody may stop or starve it."""
    with TritonServer(gemma_270m_config(), tmp_path_factory.mktemp("triton")) as server:
        yield server
