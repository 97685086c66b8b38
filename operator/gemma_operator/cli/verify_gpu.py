"""`gemma-operator verify-gpu`: hold an engine against its plan, in the cluster or on this machine."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gemma_operator.api.manifest import Manifest, Owner
from gemma_operator.cli.catalog_files import catalog_from
from gemma_operator.cli.console import new_table, output_console
from gemma_operator.cli.documents import STANDARD_INPUT, InputError
from gemma_operator.cli.planning_input import add_spec_arguments, add_world_arguments, spec_of, world_of
from gemma_operator.cli.verdicts import Row, cache_row, evidence, seconds_row
from gemma_operator.cli.verify_endpoint import Wanted, verify_endpoint
from gemma_operator.kube.errors import ClusterError
from gemma_operator.kube.look import looking
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.planner import make_plan
from gemma_operator.resources.runtime import runtime_config
from gemma_operator.settings import OperatorSettings

VERIFIER = "gemma_serving.engines.verification"
EXAMPLES = """examples:
  gemma-operator verify-gpu assistant --namespace chat
  gemma-operator verify-gpu assistant --namespace chat --drain --key-file key.txt --output json
  gemma-operator verify-gpu deployment.yaml --weights /models/gemma-3-4b-it
  gemma-operator verify-gpu deployment.yaml --weights /models/config-only --dummy --output json

A NAME is a GemmaDeployment: its replicas are asked through the API server (get and create on pods/proxy). It
should have no other traffic.

With --weights the engine is loaded here: inside NVIDIA's Triton image, with this package on PYTHONPATH, on a
machine with the planned accelerators. --python names another interpreter that has the engine.

exit codes: 0 as planned, 1 something differs, 2 it cannot be run
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify-gpu",
        help="compare a running endpoint, or an engine on this machine, with its plan",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="NAME|FILE",
        help="a GemmaDeployment in the cluster; with --weights the file of one, - for standard input",
    )
    add_spec_arguments(parser)
    add_world_arguments(parser)
    endpoint = parser.add_argument_group("in the cluster")
    endpoint.add_argument("--namespace", default="default", metavar="NAME", help="(%(default)s)")
    endpoint.add_argument("--key-file", metavar="FILE", type=Path, help="API key, where it asks for one")
    endpoint.add_argument(
        "--drain", action="store_true", help="also delete a pod: a stream through it has to end well"
    )
    parser.add_argument("--weights", metavar="PATH", help="on this machine: checkpoint folder, or GGUF file")
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
        plan, report, rows = _in_the_cluster(args) if args.weights is None else _here(args)
    except (InputError, ClusterError) as error:
        print(f"gemma-operator verify-gpu: {error}", file=sys.stderr)
        return 2
    if args.output == "json":
        json.dump(evidence(plan, report, rows), sys.stdout, indent=2)
        print()
    else:
        console = output_console()
        console.print(_table(console, plan, rows))
    return 0 if all(row.is_met for row in rows) else 1


Outcome = tuple[Plan, dict[str, Any], Sequence[Row]]
"""What was planned, what was found, and the two side by side."""


def _in_the_cluster(args: argparse.Namespace) -> Outcome:
    if args.file is None or args.file == STANDARD_INPUT or Path(args.file).is_file():
        raise InputError(
            "give the NAME of a GemmaDeployment in the cluster, or --weights PATH to load the engine here"
        )
    try:
        key = args.key_file.read_text(encoding="utf-8").strip() if args.key_file else None
    except OSError as error:
        raise InputError(f"--key-file {args.key_file}: {error.strerror}") from error
    wanted = Wanted(args.file, args.namespace, key, args.drain)
    catalog = catalog_from(args.overlay)
    found = looking(lambda api: verify_endpoint(api, wanted, catalog))
    return found.plan, {"pods": list(found.pods)}, found.rows


def _here(args: argparse.Namespace) -> Outcome:
    world = world_of(args)
    spec = spec_of(args)
    plan = make_plan(spec, world.catalog, world.settings, world.inventory)
    if isinstance(plan, Refusal):
        raise InputError(f"{plan.reason.value}: {plan.message}")
    owner = Owner(name="verify-gpu", namespace="default", uid="", generation=1)
    config = json.loads(runtime_config(owner, spec, plan, OperatorSettings()).to_json())
    report = _verified(on_this_machine(config, args.weights, args.dummy), args.python)
    return plan, report, compared(plan, report)


def on_this_machine(config: Manifest, weights: str, is_dummy: bool) -> Manifest:
    """runtime.json with the weights where they are here. Adapters and drafters stay in their pods."""
    kept = {name: value for name, value in config.items() if name != "drafter"}
    changed = {**kept, "weights_path": str(Path(weights).resolve()), "adapters": {}}
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
    speed, single = outlook.speed, report["single_tokens_per_second"]
    return [
        cache_row(outlook, report["kv_total_tokens"]),
        seconds_row("load, seconds", plan.predicted_load_seconds, report["load_seconds"]),
        Row(
            "tokens per second, each",
            f"{speed.per_request.low:.1f} or more of {plan.max_concurrent_requests} at once",
            f"{single:.1f} alone, {report['total_tokens_per_second']:.1f} over {report['streams']}",
            single >= speed.per_request.low,
        ),
        *checks,
    ]


def _table(console: Console, plan: Plan, rows: Sequence[Row]) -> Table:
    table = new_table(console, "", "planned", "measured", "")
    for row in rows:
        table.add_row(row.name, row.planned, row.measured, "ok" if row.is_met else "DIFFERS")
    where = plan.accelerator if not plan.count else f"{plan.count} x {plan.accelerator}"
    table.title = (
        f"{plan.variant} in {plan.precision.value} on {where}, {plan.engine.value} {plan.engine_version}"
    )
    return table
