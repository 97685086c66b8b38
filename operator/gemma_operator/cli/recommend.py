"""`gemma-operator recommend`: which Gemma for a task, a budget and a load, answered with verified plans."""

import argparse
import json
import sys

import yaml

from gemma_operator.api.v1alpha1 import Optimization
from gemma_operator.catalog.rows import Task
from gemma_operator.cli.console import new_table, output_console
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.plan_output import plain
from gemma_operator.cli.planning_input import add_world_arguments, world_of
from gemma_operator.planning.plan import CPU, Plan
from gemma_operator.planning.planner import decide
from gemma_operator.planning.recommend import Need, Recommendation, recommend

COLUMNS = ("variant", "runs on", "engine", "precision", "tokens/s", "per request", "per hour", "licence")

EXAMPLES = """examples:
  gemma-operator recommend --task chat --budget 1.5 --context 8192 --concurrency 8
  gemma-operator recommend --task vision --accelerator nvidia-l4
  gemma-operator recommend --task guard --concurrency 16 --output json

exit codes: 0 something fits, 1 nothing does, 2 the input cannot be used
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "recommend",
        help="which Gemma for a task and a budget",
        description="Which Gemma for a task and a budget: the most capable first, each with a verified plan.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--task", required=True, choices=[task.value for task in Task])
    parser.add_argument(
        "--budget", type=float, metavar="PER_HOUR", help="most that a replica may cost by the hour"
    )
    parser.add_argument("--context", type=int, default=8192, metavar="TOKENS")
    parser.add_argument("--concurrency", type=int, default=4, metavar="REQUESTS")
    parser.add_argument("--accelerator", help="only on this accelerator, or cpu")
    parser.add_argument(
        "--optimization", choices=[one.value for one in Optimization], default=Optimization.BALANCED.value
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=5.0,
        metavar="TOKENS/S",
        help="slowest that one stream may be (default 5)",
    )
    parser.add_argument("--most", type=int, default=5, help="how many to list")
    add_world_arguments(parser)
    parser.add_argument("--output", choices=("table", "json", "yaml"), default="table")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        need = _need(args)
        world = world_of(args)
    except InputError as error:
        print(f"gemma-operator recommend: {error}", file=sys.stderr)
        return 2
    found = recommend(need, world, lambda spec: decide(spec, world))[: args.most]
    if not found:
        budget = f" within {need.hourly_budget:.2f} per hour" if need.hourly_budget is not None else ""
        print(
            f"nothing does {need.task.value} with {need.concurrency} requests of {need.context} "
            f"tokens{budget}; "
            "raise --budget, or lower --context or --concurrency",
            file=sys.stderr,
        )
        return 1
    _print(found, args.output)
    return 0


def _need(args: argparse.Namespace) -> Need:
    if args.context < 1 or args.concurrency < 1 or args.most < 1:
        raise InputError("--context, --concurrency and --most must be at least 1")
    return Need(
        task=Task(args.task),
        context=args.context,
        concurrency=args.concurrency,
        hourly_budget=args.budget,
        accelerator=args.accelerator,
        optimization=Optimization(args.optimization),
        least_tokens_per_second=args.speed,
    )


def _print(found: tuple[Recommendation, ...], output: str) -> None:
    if output != "table":
        data = [{"variant": one.variant, "licence": one.row.licence, **plain(one.plan)} for one in found]
        text = json.dumps(data, indent=2, ensure_ascii=False) if output == "json" else yaml.safe_dump(data)
        print(text)
        return
    console = output_console()
    table = new_table(console, *COLUMNS)
    for one in found:
        table.add_row(*_row(one.variant, one.plan), one.row.licence)
    console.print(table)


def _row(variant: str, plan: Plan) -> tuple[str, ...]:
    where = CPU if plan.accelerator == CPU else f"{plan.count} x {plan.accelerator}"
    outlook = plan.outlook
    speed = f"{outlook.speed.total.expected:.0f}" if outlook else ""
    one = f"{outlook.speed.per_request.expected:.0f}" if outlook else ""
    cost = f"{outlook.hourly_cost:.2f}" if outlook and outlook.hourly_cost is not None else "–"
    return variant, where, plan.engine.value, plan.precision.value, speed, one, cost
