"""Where the commands print: tables with rules and colours on a terminal, plain and unwrapped when piped."""

from rich import box
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 2000
"""Columns of a line that nobody's terminal wraps."""


def output_console() -> Console:
    """The console for standard output."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def new_table(console: Console, *columns: str, title: str | None = None) -> Table:
    """A table that suits the console; the first column never wraps."""
    style = box.ROUNDED if console.is_terminal else None
    padding = (0, 1) if console.is_terminal else (0, 2, 0, 0)
    table = Table(box=style, padding=padding, title=title, title_justify="left")
    for place, name in enumerate(columns):
        table.add_column(name, no_wrap=place == 0, overflow="fold")
    return table
