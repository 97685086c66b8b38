"""A plan or a refusal as a table for people, or as JSON or YAML for programs."""

import dataclasses
import json
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gemma_operator.api.quantity import format_bytes, format_millicores, gib
from gemma_operator.planning.plan import CPU, MemoryBudget, Outlook, Plan, Refusal

BAR_CELLS = 48
PARTS = (
    ("weights", "█", "cyan"),
    ("kv_cache", "▓", "green"),
    ("overhead", "▒", "yellow"),
    ("headroom", "░", "dim"),
)
"""Part of the sum, its character, its colour."""


def print_answer(console: Console, answer: Plan | Refusal, output: str) -> None:
    """Print in the form asked for."""
    if output == "json":
        print(json.dumps(plain(answer), indent=2, ensure_ascii=False))
    elif output == "yaml":
        print(yaml.safe_dump(plain(answer), sort_keys=False, allow_unicode=True), end="")
    elif isinstance(answer, Plan):
        _print_plan(console, answer)
    else:
        _print_refusal(console, answer)


def plain(answer: Plan | Refusal) -> dict[str, Any]:
    """Plain data: `{plan: ...}` or `{refusal: ...}`, without what is None."""
    kind = "plan" if isinstance(answer, Plan) else "refusal"
    return {kind: _plain(dataclasses.asdict(answer))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _print_plan(console: Console, plan: Plan) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for name, value in _rows(plan):
        table.add_row(name, value)
    console.print(table)
    console.print()
    console.print(memory_bar(plan.memory))
    for sentence in plan.explanations:
        console.print(f"· {sentence}", style="dim", highlight=False)


def _rows(plan: Plan) -> list[tuple[str, str]]:
    where = CPU if plan.accelerator == CPU else f"{plan.count} x {plan.accelerator}"
    rows = [
        ("variant", plan.variant),
        ("runs on", where),
        ("engine", f"{plan.engine.value} {plan.engine_version} ({plan.image})"),
        ("precision", f"{plan.precision.value} from {plan.weights.origin.source}"),
        ("context", f"{plan.context_length} tokens"),
        ("at once", f"{plan.max_concurrent_requests} requests, {plan.max_queued_requests} more may wait"),
        ("takes in", ", ".join(plan.modalities)),
        ("host", _host(plan)),
    ]
    return rows + (_outlook_rows(plan.outlook) if plan.outlook else [])


def _host(plan: Plan) -> str:
    host = plan.host
    return (
        f"{format_millicores(host.cpu_millicores)} cores, {gib(host.memory_bytes)} GiB memory, "
        f"{gib(host.ephemeral_storage_bytes)} GiB disk, /dev/shm {format_bytes(host.shared_memory_bytes)}"
    )


def _outlook_rows(outlook: Outlook) -> list[tuple[str, str]]:
    total, one, first = outlook.speed.total, outlook.speed.per_request, outlook.speed.time_to_first_token
    rows = [
        (
            "speed",
            f"{total.expected:.0f} tokens/s ({total.low:.0f} to {total.high:.0f}), "
            f"{one.expected:.1f} per request",
        ),
        ("first token", f"{first.expected:.2f} s ({first.low:.2f} to {first.high:.2f})"),
        ("largest context", f"{outlook.largest_context} tokens for one request alone"),
        ("start-up", ", ".join(f"{phase.phase} {phase.seconds:.0f} s" for phase in outlook.startup)),
        ("support", outlook.support),
    ]
    if outlook.machine_types:
        rows.append(("machines", ", ".join(outlook.machine_types)))
    if outlook.hourly_cost is not None:
        tokens = (
            f", {outlook.cost_per_million_tokens:.2f} per million tokens"
            if outlook.cost_per_million_tokens
            else ""
        )
        rows.append(
            ("price", f"{outlook.hourly_cost:.2f} per hour{tokens} (example prices: {outlook.price_note})")
        )
    return rows


def memory_bar(memory: MemoryBudget) -> Text:
    """The memory sum as a bar with its numbers; per accelerator, or of the container on CPU.

    Where the sum does not fit, a second line shows how far the memory that there is reaches.
    """
    needed = memory.usable_bytes - memory.headroom_bytes
    whole = max(needed, memory.usable_bytes)
    bar, legend = Text(), Text()
    for name, character, style in PARTS:
        size = max(0, getattr(memory, f"{name}_bytes"))
        if name == "headroom" and needed > memory.usable_bytes:
            continue
        cells = max(1, round(BAR_CELLS * size / whole)) if size else 0
        bar.append(character * cells, style=style)
        legend.append(f"{character} {name.replace('_', ' ')} {gib(size)}  ", style=style)
    if needed <= memory.usable_bytes:
        return Text.assemble(bar, f" {gib(memory.usable_bytes)} GiB usable\n", legend, "\n")
    reach = max(1, round(BAR_CELLS * memory.usable_bytes / whole))
    ruler = f"{'─' * (reach - 1)}┘ {gib(memory.usable_bytes)} GiB usable\n"
    return Text.assemble(bar, f" {gib(needed)} GiB needed\n", (ruler, "bold red"), legend, "\n")


def _print_refusal(console: Console, refusal: Refusal) -> None:
    reason = refusal.message.split(". What fits: ")[0]
    console.print(f"refused: {refusal.reason.value}", style="bold red")
    console.print(reason, highlight=False)
    if refusal.memory is not None:
        console.print()
        console.print(memory_bar(refusal.memory), end="")
    if not refusal.remedies:
        return
    console.print("\nwhat fits, the cheapest first:", style="bold")
    for remedy in refusal.remedies:
        console.print(f"· {remedy.sentence}", highlight=False)
        fragment = yaml.safe_dump({"spec": remedy.spec_fragment}, sort_keys=False)
        console.print(
            "".join(f"    {line}\n" for line in fragment.splitlines()), end="", style="green", highlight=False
        )
