"""What the gateway adds: to Triton called directly, beside LiteLLM's proxy and llama.cpp's own server.

    python benchmarks/gateway/overhead.py [--litellm PATH_OF_ITS_PYTHON] [--json FILE]

One run, one machine. A scripted engine inside a real Triton speaks at a set pace; every path gets the same
load at 1, 16 and 64 streams. Added time to first token is the gateway's distribution against the direct
call's; throughput is given per CPU second of the proxy's processes (from /proc), so that what else the
machine does falls out. LiteLLM relays a scripted OpenAI server at the same pace, token by token and
coalesced as the gateway's deltas are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

from frameworks import cpu_seconds, free_port, rss_mib, wait_until_open  # noqa: E402

from gemma_serving.contract import GenerateRequest, RuntimeConfig  # noqa: E402
from gemma_serving.gateway.upstream import TritonUpstream  # noqa: E402
from support.runtime_configs import runtime_config  # noqa: E402
from support.triton_runtime import TritonServer  # noqa: E402

STREAMS = (1, 16, 64)
PACE_SECONDS = 0.02
"""Between bursts: the contract's limit for coalescing."""
BURST = 10
"""Tokens of a burst: 500 tokens/s and stream, 8,000 at 16 streams."""
TOKENS = 1000
ROUNDS = {1: 20, 16: 6, 64: 4}
"""Streams that each client reads, one after another."""
LITELLM_KEY = f"sk-{os.urandom(24).hex()}"
"""Its proxy does not start without one."""
STREAM_SECONDS = TOKENS / BURST * PACE_SECONDS

Stream = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Route:
    """One way to the engine."""

    name: str
    stream: Stream
    """Reads one whole stream; returns seconds to the first token."""
    pids: tuple[int, ...] = ()
    """Processes of the proxy."""


class BenchTriton(TritonServer):
    """A real tritonserver with the paced engine in the place of llama.cpp's."""

    def _command(self, runtime: Any) -> list[str]:
        engines = self._models / "gemma" / "1" / "gemma_serving" / "engines"
        shutil.copy(Path(__file__).with_name("paced_engine.py"), engines / "llamacpp.py")
        return super()._command(runtime)


def http_stream(port: int, key: str = "none") -> Stream:
    """A chat over HTTP, read from a bare socket."""
    body = json.dumps(
        {
            "model": "demo",
            "stream": True,
            "max_tokens": TOKENS,
            "messages": [{"role": "user", "content": "Say something."}],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode()

    async def read() -> float:
        start = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(head + body)
        first, seen, tail = 0.0, 0, b""
        while data := await reader.read(2**16):
            text = tail + data
            seen += text.count(b"tok ")
            tail = text[-3:]
            first = first or (time.perf_counter() - start if seen else 0.0)
        writer.close()
        if seen != TOKENS:
            raise RuntimeError(f"{seen} of {TOKENS} tokens arrived")
        return first

    return read


def direct_stream(upstream: TritonUpstream) -> Stream:
    """The same engine over gRPC, without any gateway."""
    count = iter(range(10**9))

    async def read() -> float:
        start, first, seen = time.perf_counter(), 0.0, 0
        request = GenerateRequest(id=f"direct-{next(count)}", prompt="Say something.", max_tokens=TOKENS)
        async for event in upstream.generate(request):
            if event.delta is not None:
                first = first or time.perf_counter() - start
                seen += event.delta.tokens
        if seen != TOKENS:
            raise RuntimeError(f"{seen} of {TOKENS} tokens arrived")
        return first

    return read


def family(pid: int) -> list[int]:
    """A process and its children."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            pids += family(int(child))
    return pids


async def client(path: Route, phase: float, rounds: int) -> list[float]:
    """Streams one after another; clients start apart, so that streams begin at all times."""
    await asyncio.sleep(phase * STREAM_SECONDS)
    return [await path.stream() for _ in range(rounds)]


async def measure(path: Route) -> dict[str, Any]:
    """First tokens, throughput and memory at each number of streams."""
    await path.stream()
    results: dict[str, Any] = {}
    for streams in STREAMS:
        pids = [pid for root in path.pids for pid in family(root)]
        before, start = sum(map(cpu_seconds, pids)), time.perf_counter()
        clients = [client(path, number / streams, ROUNDS[streams]) for number in range(streams)]
        firsts = [first for each in await asyncio.gather(*clients) for first in each]
        wall, cpu = time.perf_counter() - start, sum(map(cpu_seconds, pids)) - before
        firsts.sort()
        tokens = len(firsts) * TOKENS
        results[str(streams)] = {
            "ttft_ms_p50": round(1000 * statistics.median(firsts), 2),
            "ttft_ms_p99": round(1000 * firsts[int(0.99 * (len(firsts) - 1))], 2),
            "tokens_per_second": round(tokens / wall),
            "tokens_per_cpu_second": round(tokens / cpu) if pids and cpu else None,
            "rss_mib": round(sum(map(rss_mib, pids)), 1) if pids else None,
        }
        print(json.dumps({"path": path.name, "streams": streams, **results[str(streams)]}), flush=True)
    return results


@contextlib.contextmanager
def process(arguments: list[str], port: int, **environment: str) -> Iterator[int]:
    """A server until the block ends; yields its pid."""
    started = subprocess.Popen(arguments, env={**os.environ, **environment}, start_new_session=True)
    try:
        wait_until_open(port, started)
        yield started.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@contextlib.contextmanager
def gateway(config: RuntimeConfig, triton: TritonServer, folder: Path) -> Iterator[tuple[int, int]]:
    """The gateway as in the pod; yields port and pid."""
    port, admin = free_port(), free_port()
    (folder / "gateway.json").write_text(config.to_json())
    arguments = [sys.executable, "-m", "gemma_serving.gateway", f"--config={folder / 'gateway.json'}"]
    arguments += [
        "--host=127.0.0.1",
        f"--port={port}",
        f"--admin-port={admin}",
        f"--triton={triton.grpc_url}",
    ]
    arguments += [f"--handshake={folder / 'drained'}"]
    with process(arguments, port) as pid:
        yield port, pid


@contextlib.contextmanager
def litellm(python: str, folder: Path, pace: float, burst: int) -> Iterator[tuple[int, int]]:
    """LiteLLM's proxy in front of the scripted OpenAI server; yields its port and pid."""
    stub_port, port = free_port(), free_port()
    settings = folder / f"litellm-{burst}.yaml"
    settings.write_text(
        "model_list:\n- model_name: demo\n  litellm_params:\n    model: openai/demo\n    api_key: none\n"
        f"    api_base: http://127.0.0.1:{stub_port}/v1\nlitellm_settings: {{telemetry: false}}\n"
    )
    stub = [
        sys.executable,
        str(Path(__file__).with_name("openai_stub.py")),
        str(stub_port),
        str(pace),
        str(burst),
    ]
    command = [str(Path(python).with_name("litellm")), "--config", str(settings), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True"}
    quiet["LITELLM_MASTER_KEY"] = LITELLM_KEY
    with process(stub, stub_port), process(command, port, **quiet) as pid:
        yield port, pid


def run(python: str | None) -> dict[str, Any]:
    """Every path, one after the other."""
    config = runtime_config(
        context_length=100_000,
        max_concurrent_requests=64,
        max_queued_requests=64,
        request_timeout_seconds=300,
        weights_path="/nonexistent",
    )
    os.environ |= {"PACE_SECONDS": str(PACE_SECONDS), "BURST": str(BURST)}
    results: dict[str, Any] = {"load_average": os.getloadavg()[0], "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"PACE_SECONDS": str(PACE_SECONDS), "BURST": str(BURST)}
        with (
            BenchTriton(config, folder, environment) as triton,
            gateway(config, triton, folder) as (port, pid),
        ):

            async def ours() -> None:
                upstream = TritonUpstream(triton.grpc_url)
                for path in (
                    Route("triton direct (gRPC)", direct_stream(upstream)),
                    Route("gateway", http_stream(port), (pid,)),
                ):
                    results[path.name] = await measure(path)
                await upstream.close()

            try:
                asyncio.run(ours())
            except Exception:
                print(triton.last_lines(), file=sys.stderr)
                raise
        if python is not None:
            for label, pace, burst in (
                ("litellm, one token per chunk", PACE_SECONDS / BURST, 1),
                ("litellm, coalesced", PACE_SECONDS, BURST),
            ):
                with litellm(python, folder, pace, burst) as (port, pid):
                    results[label] = asyncio.run(
                        measure(Route(label, http_stream(port, LITELLM_KEY), (pid,)))
                    )
    return results


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm", help="Python of an environment with litellm[proxy]")
    parser.add_argument("--json", type=Path, help="write the results there")
    given = parser.parse_args()
    results = run(given.litellm)
    for streams in STREAMS:
        own, direct = results["gateway"][str(streams)], results["triton direct (gRPC)"][str(streams)]
        added = {q: round(own[f"ttft_ms_{q}"] - direct[f"ttft_ms_{q}"], 2) for q in ("p50", "p99")}
        print(f"{streams} streams: the gateway adds {added['p50']} ms (p50), {added['p99']} ms (p99)")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
