"""`gemma-operator plan`: whether a spec fits, with which engine, how fast and at what price; or what would
fit."""

import argparse
import sys

from gemma_operator.api.v1alpha1 import Precision
from gemma_operator.cli.console import output_console
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.matrix_table import print_matrix
from gemma_operator.cli.plan_output import print_answer
from gemma_operator.cli.planning_input import add_spec_arguments, add_world_arguments, spec_of, world_of
from gemma_operator.cli.points_file import answer_points
from gemma_operator.planning.plan import Plan
from gemma_operator.planning.planner import make_plan

EXAMPLES = """examples:
  gemma-operator plan deployment.yaml
  kubectl get gemma assistant -o yaml | gemma-operator plan -
  gemma-operator plan --variant gemma-3-27b-it --accelerator nvidia-l4 --count 1
  gemma-operator plan --variant gemma-4-31b-it --context 131072 --concurrency 4 --output yaml
  gemma-operator plan --matrix --context 8192
  gemma-operator plan --points memory-points.csv > answered.csv

exit codes: 0 it fits, 1 it is refused, 2 the input cannot be used
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "plan",
        help="size a deployment without a cluster",
        description="Size a deployment without a cluster: fit, engine, precision, concurrency, speed, price.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="a GemmaDeployment; - reads standard input")
    add_spec_arguments(parser)
    add_world_arguments(parser)
    parser.add_argument("--output", choices=("table", "json", "yaml"), default="table")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--matrix", action="store_true", help="every variant on every accelerator")
    other.add_argument(
        "--points",
        metavar="FILE.csv",
        help="hold the planner against logs: predicted value and error per row",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    console = output_console()
    try:
        world = world_of(args)
        if args.points is not None:
            sys.stdout.write(answer_points(args.points, world.catalog))
            return 0
        if args.matrix:
            precision = Precision(args.precision or Precision.AUTO)
            print_matrix(console, world, precision, args)
            return 0
        answer = make_plan(spec_of(args), world.catalog, world.settings, world.inventory)
    except InputError as error:
        print(f"gemma-operator plan: {error}", file=sys.stderr)
        return 2
    print_answer(console, answer, args.output)
    return 0 if isinstance(answer, Plan) else 1
