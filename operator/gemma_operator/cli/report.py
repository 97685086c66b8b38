"""`gemma-operator report`: what each endpoint did over a period, to attach to a review."""

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from gemma_operator.cli.documents import InputError
from gemma_operator.cli.prometheus import Prometheus
from gemma_operator.cli.report_data import EndpointReport, Period, collect
from gemma_operator.cli.report_plots import picture
from gemma_operator.cli.report_text import as_json, html, markdown
from gemma_operator.cli.top import ADDRESS_VARIABLE

SECONDS_OF = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
EXAMPLES = """examples:
  gemma-operator report --prometheus http://localhost:9090 --since 24h > report.md
  gemma-operator report --since 7d --namespace chat --format html --output review.html
  gemma-operator report --since 30d --format json | jq '.endpoints[] | {name, availability, cost}'

exit codes: 0 written, 2 nothing answers or nothing was there
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "report",
        help="summarize endpoints over a period: availability, latency, throughput, cost, with plots",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prometheus", metavar="URL", help=f"default: ${ADDRESS_VARIABLE}")
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="bearer token for the Prometheus")
    parser.add_argument(
        "--since", metavar="DURATION", default="24h", help="such as 90m, 24h, 7d; default 24h"
    )
    parser.add_argument("--namespace", metavar="NAME", help="one namespace; default: all")
    parser.add_argument("--format", choices=("md", "html", "json"), default="md")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="default: standard output; Markdown's pictures go beside it",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        address = args.prometheus or os.environ.get(ADDRESS_VARIABLE)
        if not address:
            raise InputError(f"say where to look: --prometheus URL or ${ADDRESS_VARIABLE}")
        now = time.time()
        period = Period(now - duration(args.since), now)
        reports = collect(Prometheus(address, args.token_file), period, args.namespace)
        if not reports:
            raise InputError(f"no endpoint reported anything to {address} in {period}")
        _write(args.output, _text(args, reports, period))
    except (InputError, OSError) as error:
        print(f"gemma-operator report: {error}", file=sys.stderr)
        return 2
    return 0


def duration(text: str) -> float:
    """Seconds of `90m`, `24h`, `7d`, `2w`. Raises InputError."""
    match = re.fullmatch(r"(\d+)([mhdw])", text)
    if match is None or int(match[1]) == 0:
        raise InputError(f"{text!r} is no duration; write a number and m, h, d or w, such as 24h")
    return int(match[1]) * SECONDS_OF[match[2]]


def _text(args: argparse.Namespace, reports: list[EndpointReport], period: Period) -> str:
    if args.format == "json":
        return as_json(reports, period)
    pictures = {report.title: drawn for report in reports if (drawn := picture(report, period)) is not None}
    if not pictures:
        print("no plots: they need `pip install 'gemma-operator[report]'`", file=sys.stderr)
    if args.format == "html":
        return html(reports, period, pictures)
    return markdown(reports, period, _beside(args.output, pictures))


def _beside(output: Path | None, pictures: Mapping[str, bytes]) -> dict[str, str]:
    """Write Markdown's pictures into a folder beside it; standard output has no beside and gets none."""
    if output is None:
        return {}
    folder = output.with_suffix(".pictures")
    folder.mkdir(parents=True, exist_ok=True)
    names = {title: f"{title.replace('/', '-')}.png" for title in pictures}
    for title, data in pictures.items():
        (folder / names[title]).write_bytes(data)
    return {title: f"{folder.name}/{name}" for title, name in names.items()}


def _write(output: Path | None, text: str) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    output.write_text(text)
