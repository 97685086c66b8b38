"""`gemma-operator verify-gpu`: load the planned engine on this machine and hold it against its plan."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gemma_operator.api.manifest import Manifest, Owner
from gemma_operator.cli.console import new_table, output_console
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.planning_input import add_spec_arguments, add_world_arguments, spec_of, world_of
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.planner import make_plan
from gemma_operator.resources.runtime import runtime_config
from gemma_operator.settings import OperatorSettings

CACHE_TOLERANCE = 0.10
"""Relative: free memory after start-up differs by driver and by what else is on the accelerator."""
LOAD_FACTOR = 3.0
"""The startup budget of pods is three times the prediction."""
VERIFIER = "gemma_serving.engines.verification"
EXAMPLES = """examples:
  gemma-operator verify-gpu deployment.yaml --weights /models/gemma-3-4b-it
  gemma-operator verify-gpu deployment.yaml --weights /models/config-only --dummy --output json

Run it where the engine is: inside NVIDIA's Triton image, with this package on PYTHONPATH, on a machine with
the planned accelerators. --python names another interpreter that has the engine.

exit codes: 0 as planned, 1 something differs, 2 it cannot be run
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the plan beside what was measured."""

    name: str
    planned: str
    measured: str
    is_met: bool


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify-gpu",
        help="load the planned engine on this machine and compare it with the plan",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="a GemmaDeployment; - reads standard input")
    add_spec_arguments(parser)
    add_world_arguments(parser)
    parser.add_argument("--weights", required=True, metavar="PATH", help="checkpoint folder, or GGUF file")
    parser.add_argument(
        "--dummy",
        action="store_true",
        help="random weights: the folder needs config.json and the tokenizer only, and no licence",
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the engine")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        world = world_of(args)
        spec = spec_of(args)
        plan = make_plan(spec, world.catalog, world.settings, world.inventory)
        if isinstance(plan, Refusal):
            raise InputError(f"{plan.reason.value}: {plan.message}")
        owner = Owner(name="verify-gpu", namespace="default", uid="", generation=1)
        config = json.loads(runtime_config(owner, spec, plan, OperatorSettings()).to_json())
        report = _verified(on_this_machine(config, args.weights, args.dummy), args.python)
    except InputError as error:
        print(f"gemma-operator verify-gpu: {error}", file=sys.stderr)
        return 2
    rows = compared(plan, report)
    if args.output == "json":
        json.dump(evidence(plan, report, rows), sys.stdout, indent=2)
        print()
    else:
        console = output_console()
        console.print(_table(console, plan, rows))
    return 0 if all(row.is_met for row in rows) else 1


def on_this_machine(config: Manifest, weights: str, is_dummy: bool) -> Manifest:
    """runtime.json with the weights where they are here. Adapters stay in their pods."""
    changed = {**config, "weights_path": str(Path(weights).resolve()), "adapters": {}}
    if is_dummy:
        changed["engine_arguments"] = {**config["engine_arguments"], "load_format": "dummy"}
    return changed


def _verified(config: Manifest, python: str) -> dict[str, Any]:
    """The verifier's report. Raises InputError with its last words where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runtime.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(
                [python, "-m", VERIFIER, "--config", str(path)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise InputError(f"cannot run {python}: {error.strerror}") from error
    lines = done.stdout.strip().splitlines()
    try:
        report = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        words = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise InputError(
            f"the engine could not be verified (exit code {done.returncode}): {words}"
        ) from error
    return dict(report)


def compared(plan: Plan, report: dict[str, Any]) -> list[Row]:
    """The plan's figures beside the measured ones, then the checks."""
    checks = [
        Row(check["name"], "passes", check["detail"], bool(check["passed"])) for check in report["checks"]
    ]
    outlook = plan.outlook
    if outlook is None or not all(check["passed"] for check in report["checks"] if check["name"] == "load"):
        return checks
    tokens, found = outlook.kv_tokens, report["kv_total_tokens"]
    load, speed = report["load_seconds"], outlook.speed
    single = report["single_tokens_per_second"]
    return [
        Row("KV cache, tokens", f"{tokens}", f"{found}", abs(found - tokens) <= CACHE_TOLERANCE * tokens),
        Row(
            "load, seconds",
            f"{plan.predicted_load_seconds:.0f}, at most {LOAD_FACTOR * plan.predicted_load_seconds:.0f}",
            f"{load:.1f}",
            load <= LOAD_FACTOR * plan.predicted_load_seconds,
        ),
        Row(
            "tokens per second, each",
            f"{speed.per_request.low:.1f} or more of {plan.max_concurrent_requests} at once",
            f"{single:.1f} alone, {report['total_tokens_per_second']:.1f} over {report['streams']}",
            single >= speed.per_request.low,
        ),
        *checks,
    ]


def evidence(plan: Plan, report: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """What a row of the support matrix needs to say `verified`."""
    return {
        "variant": plan.variant,
        "engine": plan.engine.value,
        "version": plan.engine_version,
        "image": plan.image,
        "accelerator": plan.accelerator,
        "count": plan.count,
        "precision": plan.precision.value,
        "status": "verified" if all(row.is_met for row in rows) else "differs",
        "rows": [asdict(row) for row in rows],
        "report": report,
    }


def _table(console: Console, plan: Plan, rows: list[Row]) -> Table:
    table = new_table(console, "", "planned", "measured", "")
    for row in rows:
        table.add_row(row.name, row.planned, row.measured, "ok" if row.is_met else "DIFFERS")
    where = plan.accelerator if not plan.count else f"{plan.count} x {plan.accelerator}"
    table.title = (
        f"{plan.variant} in {plan.precision.value} on {where}, {plan.engine.value} {plan.engine_version}"
    )
    return table
