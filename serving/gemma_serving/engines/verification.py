"""Loads one engine as a pod would and checks what the contract promises; prints one JSON report.

    python -m gemma_serving.engines.verification --config runtime.json

Needs the engine's image or environment, no Kubernetes and no Triton. `gemma-operator verify-gpu` runs it and
holds the report against the plan.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from gemma_serving.contract import (
    ContractError,
    FinishReason,
    GenerateEvent,
    GenerateRequest,
    RuntimeConfig,
    Structure,
)
from gemma_serving.engines import Engine, create_engine

PROMPT: Final = "The capital of France is"
SPEED_TOKENS: Final = 64
"""Answer length of the speed runs."""
MOST_STREAMS: Final = 64
CANCEL_SECONDS: Final = 2.0
"""Within which a cancelled sequence must be free; a decode step is far below."""

STATISTICS_SECONDS: Final = 5.0
"""Within which an engine must have told the size of its cache."""


class CheckFailedError(Exception):
    """What the engine did is not what the contract says; the text is for the report."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and whether it was kept."""

    name: str
    passed: bool
    detail: str
    seconds: float


@dataclass(slots=True)
class Report:
    """What was found; tokens per second count generated tokens only."""

    engine: str
    engine_version: str
    load_seconds: float = 0.0
    kv_total_tokens: int = 0
    streams: int = 0
    single_tokens_per_second: float = 0.0
    total_tokens_per_second: float = 0.0
    checks: list[Check] = field(default_factory=list)


async def verify(engine: Engine, config: RuntimeConfig) -> Report:
    """Load, check, measure and close. A failed check does not stop the others; a failed load does."""
    report = Report(config.engine, config.engine_version)

    async def check(name: str, run: Callable[[], Awaitable[str]]) -> bool:
        started = time.monotonic()
        try:
            detail, passed = await run(), True
        except Exception as error:  # whatever an engine throws belongs into the report
            detail, passed = f"{type(error).__name__}: {error}", False
        report.checks.append(Check(name, passed, detail, round(time.monotonic() - started, 3)))
        return passed

    async def load() -> str:
        await engine.load(config)
        return f"{config.weights_path}"

    if not await check("load", load):
        return report
    report.load_seconds = report.checks[-1].seconds
    await check("generation", lambda: _generation(engine))
    await check("statistics", lambda: _statistics(engine, config, report))
    await check("structured output", lambda: _structured(engine))
    await check("cancellation", lambda: _cancellation(engine))
    for name in sorted(config.adapters):
        await check(f"adapter {name}", lambda adapter=name: _adapter(engine, adapter))  # type: ignore[misc]
    await check("speed", lambda: _speed(engine, config, report))
    await check("close", lambda: _close(engine))
    return report


async def _answer(engine: Engine, request: GenerateRequest) -> list[GenerateEvent]:
    events = [event async for event in engine.submit(request, [])]
    if events[-1].failed is not None:
        raise CheckFailedError(f"{events[-1].failed.code}: {events[-1].failed.message}")
    return events


def _text(events: list[GenerateEvent]) -> str:
    return "".join(event.delta.text for event in events if event.delta is not None)


async def _generation(engine: Engine) -> str:
    request = GenerateRequest("verify-generation", PROMPT, max_tokens=16, temperature=0.0, ignore_eos=True)
    first, *middle, last = await _answer(engine, request)
    tokens = sum(event.delta.tokens for event in middle if event.delta is not None)
    if first.accepted is None or last.finished is None or any(event.delta is None for event in middle):
        raise CheckFailedError("events are not accepted, delta…, finished")
    if not tokens == last.finished.completion_tokens == 16:
        raise CheckFailedError(f"16 tokens asked, {tokens} sent, {last.finished.completion_tokens} reported")
    return _text(middle)


async def _statistics(engine: Engine, config: RuntimeConfig, report: Report) -> str:
    stats = engine.stats()
    deadline = time.monotonic() + STATISTICS_SECONDS
    while not stats.kv_total_tokens and time.monotonic() < deadline:  # some engines look now and then only
        await asyncio.sleep(STATISTICS_SECONDS / 100)
        stats = engine.stats()
    report.kv_total_tokens = stats.kv_total_tokens
    if stats.kv_total_tokens < config.context_length:
        raise CheckFailedError(f"the cache holds {stats.kv_total_tokens} tokens, less than one context")
    if stats.running or not stats.tokens_generated_total or not stats.last_step_unix:
        raise CheckFailedError(f"after one answer: {stats.to_json()}")
    return stats.to_json()


async def _structured(engine: Engine) -> str:
    structure = Structure(regex="[0-9]{3}")
    request = GenerateRequest("verify-structure", "A number: ", max_tokens=16, structure=structure)
    text = _text(await _answer(engine, request))
    if len(text) != 3 or not text.isdigit():
        raise CheckFailedError(f"[0-9]{{3}} gave {text!r}")
    return text


async def _cancellation(engine: Engine) -> str:
    request = GenerateRequest("verify-cancel", PROMPT, max_tokens=400, ignore_eos=True)
    cancelled_at = 0.0
    ending = None
    async for event in engine.submit(request, []):
        if event.delta is not None and not cancelled_at:
            cancelled_at = time.monotonic()
            await engine.cancel(request.id)
        ending = event.finished or ending
    seconds = time.monotonic() - cancelled_at
    if ending is None or ending.reason != FinishReason.CANCELLED or engine.stats().running:
        raise CheckFailedError(f"after the cancellation: {ending}, {engine.stats().to_json()}")
    if seconds > CANCEL_SECONDS:
        raise CheckFailedError(f"the sequence was free after {seconds:.1f} s only")
    return f"free after {seconds:.3f} s and {ending.completion_tokens} tokens"


async def _adapter(engine: Engine, name: str) -> str:
    request = GenerateRequest(f"verify-{name}", PROMPT, max_tokens=16, temperature=0.0, adapter=name)
    return _text(await _answer(engine, request))


async def _speed(engine: Engine, config: RuntimeConfig, report: Report) -> str:
    report.streams = min(config.max_concurrent_requests, MOST_STREAMS)
    report.single_tokens_per_second = await _tokens_per_second(engine, 1)
    report.total_tokens_per_second = await _tokens_per_second(engine, report.streams)
    return f"{report.single_tokens_per_second} alone, {report.total_tokens_per_second} over {report.streams}"


async def _tokens_per_second(engine: Engine, streams: int) -> float:
    requests = [
        GenerateRequest(f"verify-{index}", f"{index}. {PROMPT}", max_tokens=SPEED_TOKENS, ignore_eos=True)
        for index in range(streams)
    ]
    started = time.monotonic()
    await asyncio.gather(*(_answer(engine, request) for request in requests))
    return round(streams * SPEED_TOKENS / (time.monotonic() - started), 1)


async def _close(engine: Engine) -> str:
    await engine.close()
    try:
        stats = engine.stats()
    except RuntimeError as error:
        return str(error)
    raise CheckFailedError(f"a closed engine still says {stats.to_json()}")


def main(arguments: list[str]) -> int:
    """Verify; 0 where every check passed, 1 where one failed, 2 where runtime.json cannot be used."""
    parser = argparse.ArgumentParser(prog="gemma_serving.engines.verification", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="runtime.json")
    options = parser.parse_args(arguments)
    try:
        config = RuntimeConfig.from_json(options.config.read_bytes())
        engine = create_engine(config.engine)
    except (OSError, ContractError, ValueError, ImportError) as error:
        print(f"error: {options.config}: {error}", file=sys.stderr)
        return 2
    report = asyncio.run(verify(engine, config))
    print(json.dumps(asdict(report)))
    return 0 if all(check.passed for check in report.checks) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
