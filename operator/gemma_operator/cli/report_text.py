"""A report as Markdown, HTML or JSON."""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape

from gemma_operator.cli.report_data import EndpointReport, Period

UNKNOWN = "–"
PLAN_ORDER = ("variant", "precision", "engine", "accelerator")
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:left}"
    "img{max-width:100%}"
)

Table = list[tuple[str, ...]]
"""Rows of cells; the first is the heading."""


def overview(reports: Sequence[EndpointReport]) -> Table:
    """One row per endpoint."""
    heading = ("endpoint", "requests", "availability", "TTFT p95", "tokens", "cost", "per million tokens")
    rows = [
        (
            report.title,
            f"{sum(report.requests.values()):,.0f}",
            share(report.availability),
            seconds(report.ttft_seconds.get(0.95)),
            f"{report.generation_tokens:,.0f}",
            money(report.cost),
            money(report.cost_per_million_tokens),
        )
        for report in reports
    ]
    return [heading, *rows]


def details(report: EndpointReport) -> Table:
    """What is known of one endpoint, objective beside measurement."""
    goal = report.objectives
    plan = [report.plan[key] for key in PLAN_ORDER if key in report.plan]
    ttft, ttft_goal = quantiles(report.ttft_seconds), seconds(goal.get("ttft_p95_seconds"))
    tpot, tpot_goal = quantiles(report.tpot_seconds), seconds(goal.get("tpot_p95_seconds"))
    tokens = f"{report.prompt_tokens:,.0f} / {report.generation_tokens:,.0f}"
    return [
        ("", "measured", "objective"),
        ("plan", " ".join(plan) or UNKNOWN, ""),
        ("availability", share(report.availability), share(goal.get("availability_ratio"))),
        ("time to first token p50 / p95 / p99", ttft, ttft_goal),
        ("time per output token p50 / p95 / p99", tpot, tpot_goal),
        ("requests by outcome", outcomes(report.requests), ""),
        ("turned away for lack of room", f"{report.turned_away:,.0f}", ""),
        ("prompt tokens / generated", tokens, ""),
        ("ready replicas, mean", number(report.mean_ready_replicas), ""),
        ("waiting requests, peak", number(report.peak_waiting), ""),
        ("KV cache in use, peak", share(report.peak_kv_cache_ratio), ""),
        ("cost", money(report.cost), ""),
        ("cost per million tokens", money(report.cost_per_million_tokens), ""),
    ]


def markdown(reports: Sequence[EndpointReport], period: Period, pictures: Mapping[str, str]) -> str:
    """`pictures`: endpoint's title to the picture's path."""
    parts = [f"# Gemma endpoints, {period}", _markdown_table(overview(reports))]
    for report in reports:
        parts += [f"## {report.title}", _markdown_table(details(report))]
        if report.title in pictures:
            parts.append(f"![{', '.join(report.lines)}]({pictures[report.title]})")
    return "\n\n".join(parts) + "\n"


def html(reports: Sequence[EndpointReport], period: Period, pictures: Mapping[str, bytes]) -> str:
    """One file with its pictures inside."""
    parts = [f"<h1>Gemma endpoints</h1><p>{escape(str(period))}</p>", _html_table(overview(reports))]
    for report in reports:
        parts += [f"<h2>{escape(report.title)}</h2>", _html_table(details(report))]
        if report.title in pictures:
            data = base64.b64encode(pictures[report.title]).decode()
            label = escape(", ".join(report.lines))
            parts.append(f'<img alt="{label}" src="data:image/png;base64,{data}">')
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>Gemma endpoints</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def as_json(reports: Sequence[EndpointReport], period: Period) -> str:
    """Numbers and lines, for other programs."""
    document = {"start": period.start, "end": period.end, "endpoints": [report.plain() for report in reports]}
    return json.dumps(document, indent=2) + "\n"


def _markdown_table(table: Table) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def _html_table(table: Table) -> str:
    heading = "".join(f"<th>{escape(cell)}</th>" for cell in table[0])
    rows = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>\n" for row in table[1:])
    return f"<table>\n<tr>{heading}</tr>\n{rows}</table>"


def share(value: float | None) -> str:
    """A ratio in percent, with the decimals that tell 99.9 from 99.99."""
    return UNKNOWN if value is None else f"{value:.3%}".rstrip("%").rstrip("0").rstrip(".") + " %"


def seconds(value: float | None) -> str:
    """A duration."""
    if value is None:
        return UNKNOWN
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def quantiles(values: Mapping[float, float]) -> str:
    """Such as `80 ms / 210 ms / 1.20 s`."""
    return " / ".join(seconds(values[quantile]) for quantile in sorted(values)) or UNKNOWN


def outcomes(requests: Mapping[str, float]) -> str:
    """Such as `success 1,204, failed 3`; outcomes that did not happen are left out."""
    happened = {name: count for name, count in requests.items() if round(count)}
    by_count = sorted(happened.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count:,.0f}" for name, count in by_count) or "none"


def money(value: float | None) -> str:
    """In the price file's currency."""
    return UNKNOWN if value is None else f"{value:,.2f}"


def number(value: float | None) -> str:
    """One decimal where there is one."""
    return UNKNOWN if value is None else f"{value:,.1f}".removesuffix(".0")
