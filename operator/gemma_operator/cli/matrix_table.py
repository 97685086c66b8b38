"""The matrix of variants and accelerators as a table, or as data."""

import argparse
import json
from collections.abc import Iterator
from itertools import groupby

import yaml
from rich.console import Console
from rich.table import Table

from gemma_operator.api.v1alpha1 import Precision
from gemma_operator.cli.console import new_table
from gemma_operator.planning.fit import Misfit
from gemma_operator.planning.matrix import Cell, matrix, rentable
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import CPU

VARIANT_WIDTH, CELL_WIDTH = 24, 16
"""Columns of a terminal that the first and every other column take."""


def print_matrix(console: Console, world: World, precision: Precision, args: argparse.Namespace) -> None:
    """Print the matrix in the form asked for."""
    wanted = (args.accelerator.lower(),) if args.accelerator else rentable(world)
    cells = [
        cell
        for cell in matrix(world, wanted, (precision,), args.context)
        if args.variant is None or cell.variant.startswith(args.variant.lower())
    ]
    if args.output == "json":
        print(json.dumps([_plain(cell) for cell in cells], indent=2, ensure_ascii=False))
    elif args.output == "yaml":
        print(yaml.safe_dump([_plain(cell) for cell in cells], sort_keys=False, allow_unicode=True), end="")
    else:
        for columns in _that_fit(console, wanted):
            console.print(_table(console, cells, columns))


def _that_fit(console: Console, accelerators: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Accelerators in groups that the console is wide enough for."""
    most = max(1, (console.width - VARIANT_WIDTH) // CELL_WIDTH)
    for start in range(0, len(accelerators), most):
        yield accelerators[start : start + most]


def _table(console: Console, cells: list[Cell], accelerators: tuple[str, ...]) -> Table:
    """Rows are variants, columns accelerators, a cell `count x precision, requests at once`."""
    names = (CPU if key == CPU else key.removeprefix("nvidia-") for key in accelerators)
    table = new_table(console, "variant", *names, title="accelerators x precision, requests at once")
    for variant, row in groupby(cells, key=lambda cell: cell.variant):
        table.add_row(variant, *(cell.text for cell in row if cell.accelerator in accelerators))
    return table


def _plain(cell: Cell) -> dict[str, object]:
    data: dict[str, object] = {"variant": cell.variant, "accelerator": cell.accelerator, "fits": cell.fits}
    if isinstance(cell.fit, Misfit):
        return {**data, "reason": cell.fit.reason.value, "message": cell.fit.message}
    data |= {"engine": cell.fit.version.engine.value, "precision": cell.fit.checkpoint.precision.value}
    count = getattr(cell.fit, "count", 0)
    return {**data, "count": count, "maxConcurrentRequests": cell.fit.concurrency}
