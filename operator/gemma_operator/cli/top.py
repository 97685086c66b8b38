"""`gemma-operator top`: the fleet as it is now, in the terminal."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich import box
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gemma_operator.cli.console import output_console
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.exposition import Page, fetch
from gemma_operator.cli.fleet import FleetRow, rows_between, rows_from
from gemma_operator.cli.prometheus import Prometheus

ADDRESS_VARIABLE = "PROMETHEUS_URL"
DEFAULT_INTERVAL_SECONDS = 2.0
DEFAULT_WINDOW_SECONDS = 60
BAR_CELLS = 10
FULL_RATIO = 0.95
"""From here on a bar is red: the threshold of GemmaKVCacheSaturated."""
EXAMPLES = f"""examples:
  gemma-operator top --prometheus http://localhost:9090
  {ADDRESS_VARIABLE}=http://localhost:9090 gemma-operator top --namespace chat --once
  kubectl port-forward pod/assistant-7d9f8-x2k4q 9090 & gemma-operator top --scrape http://localhost:9090/metrics

exit codes: 0 shown, 2 nothing answers
"""

Source = Callable[[], list[FleetRow]]


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "top",
        help="watch the fleet: requests, latency, tokens, KV cache, queue, replicas, cost",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--prometheus",
        metavar="URL",
        help=f"a Prometheus that scrapes the fleet; default: ${ADDRESS_VARIABLE}",
    )
    parser.add_argument(
        "--scrape", metavar="URL", nargs="+", help="metrics pages of gateways, read without a Prometheus"
    )
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="bearer token for the Prometheus")
    parser.add_argument("--namespace", metavar="NAME", help="one namespace; default: all")
    parser.add_argument(
        "--window", metavar="SECONDS", type=int, default=DEFAULT_WINDOW_SECONDS, help="of rates"
    )
    parser.add_argument("--interval", metavar="SECONDS", type=float, default=DEFAULT_INTERVAL_SECONDS)
    parser.add_argument("--once", action="store_true", help="print one table and end")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="json implies --once")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        if args.interval <= 0 or args.window <= 0:
            raise InputError("--interval and --window must be above 0 seconds")
        source = _source(args)
        if args.output == "json":
            json.dump([row.plain() for row in source()], sys.stdout, indent=2)
            print()
        elif args.once:
            output_console().print(fleet_table(source()))
        else:
            _watch(source, args.interval)
    except InputError as error:
        print(f"gemma-operator top: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _source(args: argparse.Namespace) -> Source:
    if args.scrape:
        return _Pages(args.scrape, args.interval).rows
    address = args.prometheus or os.environ.get(ADDRESS_VARIABLE)
    if not address:
        raise InputError(f"say where to look: --prometheus URL, ${ADDRESS_VARIABLE}, or --scrape URL...")
    prometheus = Prometheus(address, args.token_file)
    return lambda: rows_from(prometheus, args.namespace, args.window)


class _Pages:
    """Pages read directly; the first answer waits for a second reading."""

    def __init__(self, urls: Sequence[str], interval: float) -> None:
        self._urls = urls
        self._interval = interval
        self._before: list[Page] = []
        self._read_at = 0.0

    def rows(self) -> list[FleetRow]:
        if not self._before:
            self._before, self._read_at = [fetch(url) for url in self._urls], time.monotonic()
            time.sleep(self._interval)
        pages, now = [fetch(url) for url in self._urls], time.monotonic()
        rows = rows_between(self._before, pages, now - self._read_at)
        self._before, self._read_at = pages, now
        return rows


def _watch(source: Source, interval: float) -> None:
    with Live(fleet_table(source()), console=output_console(), auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(interval)
            live.update(fleet_table(source()), refresh=True)


def fleet_table(rows: Sequence[FleetRow]) -> Table:
    """The fleet, one endpoint a row, with a sum below when there are several."""
    title = "1 endpoint" if len(rows) == 1 else f"{len(rows)} endpoints" if rows else "no endpoint reports"
    table = Table(box=box.SIMPLE_HEAD, title=title)
    table.add_column("endpoint")
    for heading in ("ready", "req/s", "failed", "TTFT p95", "tokens/s", "running", "waiting"):
        table.add_column(heading, justify="right")
    table.add_column("KV cache")
    table.add_column("cost/h", justify="right")
    for row in rows:
        table.add_row(*_cells(row))
    if len(rows) > 1:
        table.add_section()
        table.add_row(*_cells(fleet_total(rows)), style="bold")
    return table


def fleet_total(rows: Sequence[FleetRow]) -> FleetRow:
    """Sums of what can be summed; ratios and percentiles cannot."""
    summed = ("ready", "desired", "requests_per_second", "tokens_per_second", "running", "slots", "waiting")

    def of(field: str) -> float | None:
        known = [getattr(row, field) for row in rows if getattr(row, field) is not None]
        return sum(known) if known else None

    return FleetRow("", "all", **{field: of(field) for field in (*summed, "hourly_cost")})  # type: ignore[arg-type]


def _cells(row: FleetRow) -> Iterator[Text | str]:
    yield f"{row.namespace}/{row.name}" if row.namespace else row.name
    yield _replicas(row)
    yield _number(row.requests_per_second)
    yield _warned(row.failed_ratio, "{:.1%}", 0.0)
    yield "–" if row.ttft_p95_seconds is None else _duration(row.ttft_p95_seconds)
    yield _number(row.tokens_per_second)
    yield "–" if row.running is None else f"{row.running}/{'–' if row.slots is None else row.slots}"
    yield _warned(row.waiting, "{:.0f}", row.slots or 0)
    yield _bar(row.kv_cache_ratio)
    yield "–" if row.hourly_cost is None else f"{row.hourly_cost:.2f}"


def _replicas(row: FleetRow) -> Text | str:
    if row.ready is None or row.desired is None:
        return "–"
    style = "green" if row.ready >= row.desired else "red" if row.ready == 0 else "yellow"
    return Text(f"{row.ready}/{row.desired}", style="dim" if row.desired == 0 else style)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _warned(value: float | None, shape: str, limit: float) -> Text | str:
    if value is None:
        return "–"
    return Text(shape.format(value), style="red" if value > limit else "")


def _bar(ratio: float | None) -> Text | str:
    if ratio is None:
        return "–"
    filled = round(min(ratio, 1.0) * BAR_CELLS)
    style = "red" if ratio >= FULL_RATIO else "green"
    return Text.assemble(("█" * filled, style), ("░" * (BAR_CELLS - filled), "dim"), f" {ratio:4.0%}")
