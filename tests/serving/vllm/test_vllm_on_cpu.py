"""The vLLM adapter on real vLLM on CPU, alone and inside a real tritonserver."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
import tritonclient.grpc.aio as grpc

from gemma_serving.contract import Structure
from support.generating import Answer, request
from support.triton_client import events, generate, stats
from support.triton_runtime import TritonServer
from support.vllm_runtime import ENVIRONMENT, gemma_270m_on_cpu, run_inside, vllm_python

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize("suite", ["engines/test_conformance.py", "vllm/inside_vllm.py"])
def test_adapter_passes_inside_vllms_environment(suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_ENGINE_CASES", "vllm-real-gemma-3-270m")
    done = run_inside(
        ["-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", f"tests/serving/{suite}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Triton whose stub finds vLLM's environment, as NVIDIA's image has its own first on PATH."""
    environment = {**ENVIRONMENT, "PATH": f"{vllm_python().parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    config = replace(gemma_270m_on_cpu(), max_concurrent_requests=4)
    with TritonServer(config, tmp_path_factory.mktemp("vllm"), environment) as running:
        yield running


async def test_streams_cancels_and_constrains_inside_triton(server: TritonServer) -> None:
    async with grpc.InferenceServerClient(server.grpc_url) as client:
        counting = Answer(await events(generate(client, request("1, 2, 3, 4, 5,", max_tokens=6))))
        assert counting.text.startswith(" 6, 7")
        shaped = Structure(regex="[0-9]{3}")
        assert Answer(await events(generate(client, request("A code: ", structure=shaped)))).text.isdigit()
        long = generate(client, request(max_tokens=400, ignore_eos=True))
        async for _ in long.texts():
            if (await stats(client)).running == 1:
                break
        long.cancel()
        async with asyncio.timeout(60):
            while (await stats(client)).running:
                await asyncio.sleep(0.02)


async def test_as_many_as_planned_run_at_once(server: TritonServer) -> None:
    async with grpc.InferenceServerClient(server.grpc_url) as client:
        replies = await asyncio.gather(
            *(events(generate(client, request(f"{number} and", max_tokens=8))) for number in range(12))
        )
        assert [Answer(reply).finished.completion_tokens for reply in replies] == [8] * 12
        assert (await stats(client)).kv_total_tokens >= 4 * 512
