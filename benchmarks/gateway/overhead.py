"""What the gateway adds: to Triton called directly, beside LiteLLM's proxy and llama.cpp's own server.

    python benchmarks/gateway/overhead.py [--quick] [--json FILE]

One run, one machine. A scripted engine inside a real Triton speaks at a set pace; every path gets the same
load at 1, 16 and 64 streams, and clients take turns between the paths, so that what else the machine does
meets all of them. Throughput is given per CPU second of a proxy's processes (from /proc). LiteLLM relays a
scripted OpenAI server at the same pace, coalesced as the gateway's deltas are. llama.cpp's server has no
engine to be scripted: both it and a whole pod (gateway, Triton, llama.cpp) serve the real Gemma 3 270M.

`--quick` is the subset for CI: the gateway and the direct call, fewer rounds, no peers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(HERE)]

import targets  # noqa: E402
from frameworks import cpu_seconds, free_port, rss_mib  # noqa: E402
from peers import LITELLM_KEY, Peer, litellm, llamacpp_server, process  # noqa: E402

from gemma_serving.contract import GenerateRequest, RuntimeConfig  # noqa: E402
from gemma_serving.gateway.upstream import TritonUpstream  # noqa: E402
from support.runtime_configs import runtime_config  # noqa: E402
from support.triton_runtime import TritonServer, gemma_270m_config  # noqa: E402

STREAMS = (1, 16, 64)
PACE_SECONDS = 0.02
"""Between bursts: the contract's limit for coalescing."""
BURST = 10
"""Tokens of a burst: 500 tokens/s and stream, 8,000 at 16 streams."""
TOKENS = 1000
STREAM_SECONDS = TOKENS / BURST * PACE_SECONDS
ROUNDS = {1: 10, 16: 6, 64: 2}
"""Streams that each client reads from each path, one after another."""
QUICK_ROUNDS = {1: 2, 16: 1, 64: 1}
REAL_TOKENS = 32
REAL_ROUNDS = {1: 5, 16: 1, 64: 1}
REAL_CONTEXT = 256
THREADS = 1
"""Of llama.cpp: more than idle cores make it collapse."""
SEED = 20261125
"""Of the times at which streams begin."""
SCRIPTED_PROMPT = {"messages": [{"role": "user", "content": "Say something."}]}
REAL_PROMPT = {"prompt": "Kubernetes is an open-source system for", "ignore_eos": True, "temperature": 0}

Stream = Callable[[], Awaitable[float]]


@dataclass
class Route:
    """One way to the engine, and what it was seen to do."""

    name: str
    stream: Stream
    """Reads one whole stream; returns seconds to the first token."""
    roots: tuple[int, ...] = ()
    """Processes of the proxy."""
    firsts: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0
    proxy_seconds: float = 0.0

    @property
    def pids(self) -> list[int]:
        """The proxy's processes and their children."""
        return [pid for root in self.roots for pid in family(root)]


class BenchTriton(TritonServer):
    """A real tritonserver with the paced engine in the place of llama.cpp's."""

    def _command(self, runtime: Any) -> list[str]:
        engines = self._models / "gemma" / "1" / "gemma_serving" / "engines"
        shutil.copy(HERE / "paced_engine.py", engines / "llamacpp.py")
        return super()._command(runtime)


def http_stream(port: int, path: str, body: dict[str, Any], key: str = "none") -> Stream:
    """A stream over HTTP, read from a bare socket: its own work is a few microseconds of an event."""
    payload = json.dumps({"model": "demo", "stream": True, **body}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\nconnection: close\r\n\r\n"
    ).encode()
    scripted = "messages" in body
    first_mark, count_mark = (b"tok ", b"tok ") if scripted else (b"data: ", b"data: [DONE]")
    wanted = body["max_tokens"] if scripted else 1

    async def read() -> float:
        start = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(head + payload)
        first, seen, tail = 0.0, 0, b""
        while data := await reader.read(2**16):
            text = tail + data
            seen += text.count(count_mark)
            tail = text[1 - len(count_mark) :]
            first = first or (time.perf_counter() - start if first_mark in text else 0.0)
        writer.close()
        if seen != wanted:
            raise RuntimeError(f"{seen} of {wanted} {count_mark.decode()!r} arrived")
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


async def turn(route: Route, phases: Sequence[float]) -> None:
    """One stream of every client; they start apart, so that streams begin at all times."""

    async def client(phase: float) -> float:
        await asyncio.sleep(phase)
        return await route.stream()

    before, start = sum(map(cpu_seconds, route.pids)), time.perf_counter()
    route.firsts += await asyncio.gather(*(client(phase) for phase in phases))
    route.wall_seconds += time.perf_counter() - start
    route.proxy_seconds += sum(map(cpu_seconds, route.pids)) - before


async def measure(routes: Sequence[Route], rounds: dict[int, int], tokens: int) -> dict[str, Any]:
    """First tokens, throughput and memory at each number of streams, the routes taking turns."""
    chances = random.Random(SEED)
    results: dict[str, Any] = {route.name: {} for route in routes}
    for route in routes:
        await route.stream()
    for streams in STREAMS:
        fresh = [replace(route, firsts=[], wall_seconds=0.0, proxy_seconds=0.0) for route in routes]
        for _ in range(rounds[streams]):
            phases = [chances.uniform(0, STREAM_SECONDS) for _ in range(streams)]
            for route in fresh:
                await turn(route, phases)
        for route in fresh:
            results[route.name][str(streams)] = row = summary(route, tokens)
            print(json.dumps({"path": route.name, "streams": streams, **row}), flush=True)
    return results


def summary(route: Route, tokens: int) -> dict[str, Any]:
    """Figures of one route at one number of streams."""
    firsts, total = sorted(route.firsts), len(route.firsts) * tokens
    return {
        "ttft_ms_p50": round(1000 * statistics.median(firsts), 2),
        "ttft_ms_p99": round(1000 * firsts[int(0.99 * (len(firsts) - 1))], 2),
        "tokens_per_second": round(total / route.wall_seconds),
        "tokens_per_cpu_second": round(total / route.proxy_seconds) if route.proxy_seconds else None,
        "rss_mib": round(sum(map(rss_mib, route.pids)), 1) if route.roots else None,
    }


@contextlib.contextmanager
def gateway(config: RuntimeConfig, triton: TritonServer, folder: Path) -> Iterator[Peer]:
    """The gateway as in the pod."""
    port, admin = free_port(), free_port()
    (folder / "gateway.json").write_text(config.to_json())
    arguments = [sys.executable, "-m", "gemma_serving.gateway", f"--config={folder / 'gateway.json'}"]
    arguments += ["--host=127.0.0.1", f"--port={port}", f"--admin-port={admin}"]
    arguments += [f"--triton={triton.grpc_url}", f"--handshake={folder / 'drained'}"]
    with process(arguments, port) as peer:
        yield peer


def scripted(rounds: dict[int, int], with_peers: bool) -> dict[str, Any]:
    """The scripted engine: Triton directly, the gateway, and LiteLLM beside them."""
    config = runtime_config(
        context_length=100_000,
        max_concurrent_requests=64,
        max_queued_requests=64,
        request_timeout_seconds=300,
        weights_path="/nonexistent",
    )
    body = {**SCRIPTED_PROMPT, "max_tokens": TOKENS}
    chat = "/v1/chat/completions"
    environment = {"PACE_SECONDS": str(PACE_SECONDS), "BURST": str(BURST)}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        triton = stack.enter_context(BenchTriton(config, folder, environment))
        own = stack.enter_context(gateway(config, triton, folder))
        routes = [Route(targets.GATEWAY, http_stream(own.port, chat, body), (own.pid,))]
        if with_peers:
            peer = stack.enter_context(litellm(folder, PACE_SECONDS, BURST))
            routes.append(
                Route(targets.LITELLM, http_stream(peer.port, chat, body, LITELLM_KEY), (peer.pid,))
            )

        async def run() -> dict[str, Any]:
            upstream = TritonUpstream(triton.grpc_url)
            direct = Route(targets.DIRECT, direct_stream(upstream))
            try:
                return await measure([direct, *routes], rounds, TOKENS)
            finally:
                await upstream.close()

        return asyncio.run(run())


def real() -> dict[str, Any]:
    """Gemma 3 270M on llama.cpp: a pod's three layers, and llama.cpp's own server."""
    slots = max(STREAMS)
    config = gemma_270m_config(
        context_length=REAL_CONTEXT,
        max_concurrent_requests=slots,
        threads=THREADS,
        request_timeout_seconds=600,
    )
    body = {**REAL_PROMPT, "max_tokens": REAL_TOKENS}
    results: dict[str, Any] = {}
    # One after the other: two engines beside each other would take each other's cores.
    with tempfile.TemporaryDirectory() as name:
        with TritonServer(config, Path(name)) as triton, gateway(config, triton, Path(name)) as own:
            route = Route(targets.POD, http_stream(own.port, "/v1/completions", body), (own.pid,))
            results |= asyncio.run(measure([route], REAL_ROUNDS, REAL_TOKENS))
        with llamacpp_server(slots, REAL_CONTEXT, THREADS) as peer:
            route = Route(targets.LLAMACPP, http_stream(peer.port, "/v1/completions", body))
            results |= asyncio.run(measure([route], REAL_ROUNDS, REAL_TOKENS))
    return results


def main() -> int:
    """Measure, print every row and every target; 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and no peers")
    parser.add_argument("--json", type=Path, help="write the results there")
    given = parser.parse_args()
    results: dict[str, Any] = {"load_average": os.getloadavg()[0], "cores": os.cpu_count()}
    results |= scripted(QUICK_ROUNDS if given.quick else ROUNDS, not given.quick)
    if not given.quick:
        results |= real()
    verdicts = targets.verdicts(results)
    print(*verdicts, sep="\n")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
