"""`gemma-operator explain`: each number of a plan with its formula and its source."""

import argparse
import dataclasses
import json
import sys

from rich.console import Console
from rich.table import Table

from gemma_operator.cli.console import new_table, output_console
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.plan_output import print_answer
from gemma_operator.cli.planning_input import add_spec_arguments, add_world_arguments, spec_of, world_of
from gemma_operator.planning.choose import choose
from gemma_operator.planning.explain import Line, explain
from gemma_operator.planning.fit import Misfit
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.planner import make_plan
from gemma_operator.planning.wish import wish_of

EXAMPLES = """examples:
  gemma-operator explain deployment.yaml
  gemma-operator explain --variant gemma-3-27b-it --accelerator nvidia-h100-80gb
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="each number of a plan with its formula and source",
        description="Each number of a plan with its formula and its source.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="a GemmaDeployment; - reads standard input")
    add_spec_arguments(parser)
    add_world_arguments(parser)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        world = world_of(args)
        spec = spec_of(args)
    except InputError as error:
        print(f"gemma-operator explain: {error}", file=sys.stderr)
        return 2
    plan = make_plan(spec, world.catalog, world.settings, world.inventory)
    wish = wish_of(spec, world.catalog)
    fit = None if isinstance(wish, Refusal) else choose(wish, world)
    if isinstance(plan, Refusal) or isinstance(wish, Refusal) or fit is None or isinstance(fit, Misfit):
        print_answer(output_console(), plan, "table")
        return 0 if isinstance(plan, Plan) else 1
    lines = explain(plan, fit, wish, world.catalog)
    if args.output == "json":
        print(json.dumps([dataclasses.asdict(line) for line in lines], indent=2, ensure_ascii=False))
    else:
        console = output_console()
        console.print(_table(console, lines))
    return 0


def _table(console: Console, lines: tuple[Line, ...]) -> Table:
    table = new_table(console, "", "number", "value", "formula", "source")
    topic = ""
    for line in lines:
        table.add_row(
            line.topic if line.topic != topic else "", line.name, line.value, line.formula, line.source
        )
        topic = line.topic
    return table
