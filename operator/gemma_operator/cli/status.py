"""`gemma-operator status`: every endpoint and what is in its way, from the resources' own status."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from rich.live import Live
from rich.table import Table
from rich.text import Text

from gemma_operator.cli.console import new_table, output_console
from gemma_operator.kube.apiserver import ApiServer
from gemma_operator.kube.errors import ClusterError
from gemma_operator.kube.kinds import GEMMA_DEPLOYMENT
from gemma_operator.kube.look import listed, looking
from gemma_operator.status.fleet import EndpointLine, fleet_lines

WATCH_SECONDS = 2.0
BAR_CELLS = 10
EXAMPLES = """examples:
  gemma-operator status
  gemma-operator status --namespace chat --watch
  gemma-operator status --output json | jq '.[] | select(.is_ready | not) | .summary'

exit codes: 0 all are ready, 1 some are not, 2 the cluster cannot be asked
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="every endpoint of the cluster, and what is in its way",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--namespace", metavar="NAME", help="one namespace; default: all")
    parser.add_argument("--watch", action="store_true", help="follow until Ctrl-C")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="(%(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        lines = _look(args.namespace)
        if args.watch:
            _watch(args.namespace, lines)
        elif args.output == "json":
            json.dump([asdict(line) for line in lines], sys.stdout, indent=2)
            print()
        else:
            output_console().print(status_table(lines))
    except ClusterError as error:
        print(f"gemma-operator status: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0 if all(line.is_ready for line in lines) else 1


def _look(namespace: str | None) -> list[EndpointLine]:
    async def look(api: ApiServer) -> list[EndpointLine]:
        return fleet_lines(await listed(api, GEMMA_DEPLOYMENT.path(namespace)))

    return looking(look)


def _watch(namespace: str | None, lines: list[EndpointLine]) -> None:
    with Live(status_table(lines), console=output_console(), auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(status_table(_look(namespace)), refresh=True)


def status_table(lines: Sequence[EndpointLine]) -> Table:
    """What needs a look first; a bar while weights are fetched."""
    ready = sum(line.is_ready for line in lines)
    title = f"{ready} of {len(lines)} endpoints are ready" if lines else "there is no GemmaDeployment"
    columns = ("endpoint", "variant", "accelerator", "ready", "status", "what is so")
    table = new_table(output_console(), *columns, title=title)
    for line in lines:
        table.add_row(
            f"{line.namespace}/{line.name}",
            line.variant,
            line.accelerator,
            line.ready,
            _reason(line),
            _sentence(line),
        )
    return table


def _reason(line: EndpointLine) -> Text:
    if line.is_ready:
        return Text(line.reason, style="green" if line.is_up_to_date else "yellow")
    return Text(line.reason, style="yellow" if line.loaded_ratio is not None else "red")


def _sentence(line: EndpointLine) -> Text:
    text = Text(line.summary)
    if not line.is_current:
        text.append(" (the latest edit is not looked at yet)", style="dim")
    if line.loaded_ratio is not None:
        filled = round(line.loaded_ratio * BAR_CELLS)
        text.append(f" {'█' * filled}{'░' * (BAR_CELLS - filled)} {line.loaded_ratio:.0%}", style="cyan")
    return text
