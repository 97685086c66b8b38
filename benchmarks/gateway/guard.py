"""What a guard adds to an answer: on what is asked, and on what is answered in windows.

    python benchmarks/gateway/guard.py

The engine is scripted (overhead.py) and the guard answers at once (guard_stub.py), so that the figures are
the gateway's own part: four prompts made and sent, four judgements read, and the window held back. A real
guard adds its own time to first token to each judgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from frameworks import free_port
from overhead import (
    BURST,
    HERE,
    PACE_SECONDS,
    SCRIPTED_PROMPT,
    SEED,
    STREAM_SECONDS,
    TOKENS,
    BenchTriton,
    Stream,
    gateway,
    http_stream,
)
from peers import process

from gemma_serving.contract import SafetyConfig
from support.runtime_configs import runtime_config

ROUNDS = {1: 10, 16: 6}
STAGES: dict[str, list[str]] = {
    "no guard": [],
    "guard on input": ["Input"],
    "guard on output": ["Output"],
    "guard on both": ["Input", "Output"],
}


@dataclass
class Arm:
    """One configuration, and what its streams took."""

    name: str
    stream: Stream
    firsts: list[float] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)

    async def read(self, phase: float) -> None:
        """One stream, begun after `phase` seconds."""
        await asyncio.sleep(phase)
        start = time.perf_counter()
        self.firsts.append(await self.stream())
        self.wholes.append(time.perf_counter() - start)

    def row(self, streams: int) -> str:
        """Milliseconds to the first token and to the end."""
        cells: dict[str, object] = {"path": self.name, "streams": streams}
        for what, seconds in (("first", sorted(self.firsts)), ("whole", sorted(self.wholes))):
            cells[f"{what}_ms_p50"] = round(1000 * statistics.median(seconds), 1)
            cells[f"{what}_ms_p99"] = round(1000 * seconds[int(0.99 * (len(seconds) - 1))], 1)
        return json.dumps(cells)


async def measure(arms: Sequence[Arm]) -> None:
    """The arms taking turns."""
    chances = random.Random(SEED)
    for arm in arms:
        await arm.stream()
    for streams, rounds in ROUNDS.items():
        fresh = [replace(arm, firsts=[], wholes=[]) for arm in arms]
        for _ in range(rounds):
            phases = [chances.uniform(0, STREAM_SECONDS) for _ in range(streams)]
            for arm in fresh:
                await asyncio.gather(*(arm.read(phase) for phase in phases))
        for arm in fresh:
            print(arm.row(streams), flush=True)


def main() -> None:
    """Measure and print every row."""
    config = runtime_config(context_length=100_000, max_concurrent_requests=64, weights_path="/nonexistent")
    environment = {"PACE_SECONDS": str(PACE_SECONDS), "BURST": str(BURST)}
    body = {**SCRIPTED_PROMPT, "max_tokens": TOKENS}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        triton = stack.enter_context(BenchTriton(config, folder, environment))
        port = free_port()
        stack.enter_context(process([sys.executable, str(HERE / "guard_stub.py"), str(port)], port))
        arms = []
        for name, stages in STAGES.items():
            own = folder / name.replace(" ", "-")
            own.mkdir()
            safety = SafetyConfig(guard_url=f"http://127.0.0.1:{port}", guard_model="guard", stages=stages)
            peer = stack.enter_context(
                gateway(replace(config, safety=safety if stages else None), triton, own)
            )
            arms.append(Arm(name, http_stream(peer.port, "/v1/chat/completions", body)))
        asyncio.run(measure(arms))


if __name__ == "__main__":
    main()
