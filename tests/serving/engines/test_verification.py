"""What `verify-gpu` runs beside the engine, on engines that keep their promises and on others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_serving.engines.verification import Report, main, verify
from support.engine_cases import CASES, EngineCase
from support.runtime_configs import runtime_config
from support.scripted_engine import ScriptedEngine

PERMITS = 100_000


@pytest.fixture
def double() -> EngineCase:
    return CASES["tensorrt-llm-double"]()


def outcomes(report: Report) -> dict[str, bool]:
    return {check.name: check.passed for check in report.checks}


async def test_engine_that_keeps_every_promise_passes_every_check(double: EngineCase) -> None:
    report = await verify(double.create(), double.config)
    assert outcomes(report) == dict.fromkeys(outcomes(report), True), report.checks
    assert list(outcomes(report)) == [
        "load",
        "generation",
        "statistics",
        "structured output",
        "cancellation",
        "speed",
        "close",
    ]
    assert report.streams == double.config.max_concurrent_requests
    assert report.single_tokens_per_second > 0


async def test_failed_load_is_the_whole_report() -> None:
    engine = ScriptedEngine(failing_load=RuntimeError("CUDA out of memory"))
    report = await verify(engine, runtime_config())
    (check,) = report.checks
    assert (check.passed, check.detail) == (False, "RuntimeError: CUDA out of memory")


async def test_engine_without_structured_output_fails_that_check_alone() -> None:
    engine = ScriptedEngine()
    engine.allow(PERMITS)
    report = await verify(engine, runtime_config(context_length=512))
    failed = [name for name, passed in outcomes(report).items() if not passed]
    assert failed == ["structured output"]


async def test_adapters_are_asked_one_by_one(double: EngineCase, tmp_path: Path) -> None:
    adapters = {}
    for name in ("legal", "maths"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": 8}))
        adapters[name] = str(folder)
    report = await verify(double.create(), replace(double.config, adapters=adapters))
    assert {"adapter legal", "adapter maths"} <= set(outcomes(report))


def test_unusable_configuration_is_told_from_a_failed_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runtime.json"
    path.write_text("{}")
    assert main(["--config", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
