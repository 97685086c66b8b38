"""The command line: argument parsing only. What each command does lives in the `cli` room."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from gemma_operator import __version__

COMMANDS = (
    "run",
    "plan",
    "recommend",
    "explain",
    "render",
    "diff",
    "top",
    "status",
    "report",
    "crd",
    "doctor",
    "verify_gpu",
)
"""Each is a module of the `cli` room with `register(subparsers)`, which sets `run(args) -> exit code`."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gemma-operator",
        description="Plan, run and explain Gemma serving on Kubernetes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gemma-operator {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = f"gemma_operator.cli.{name}"
        if find_spec(module) is not None:
            import_module(module).register(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (0 done, 1 refused, 2 bad input)."""
    args = _parser().parse_args(arguments)
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
