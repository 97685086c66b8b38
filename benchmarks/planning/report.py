"""Writes the generated parts of docs/sizing.md: the matrix, the accuracy tables and their plot.

    python -m benchmarks.planning.report [--verify]

The points lie in tests/data/planning. `--verify` writes nothing and fails when the tables are stale.
"""

import argparse
import csv
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes

from gemma_operator.api.v1alpha1 import Precision
from gemma_operator.catalog import Catalog, load_catalog
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.logged import LogRow, start_of
from gemma_operator.planning.matrix import matrix
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import CPU
from gemma_operator.planning.points import Prediction, predict_memory
from gemma_operator.planning.throughput_points import SpeedPrediction, predict_throughput
from gemma_operator.settings import PlanningSettings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "sizing.md"
PLOT = ROOT / "docs" / "sizing" / "accuracy"
DATA = ROOT / "tests" / "data" / "planning"
MATRIX_CONTEXT = 8192
MATRIX_DEVICES = (
    CPU,
    "nvidia-t4",
    "nvidia-l4",
    "nvidia-l40s",
    "nvidia-a100-40gb",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h200-141gb",
    "nvidia-b200",
    "nvidia-rtx-pro-6000",
)


@dataclass(frozen=True)
class Kind:
    """One line of the summary: which predictions it is about."""

    name: str
    bound: str
    wanted: Callable[[Prediction], bool]


KINDS = (
    Kind("weights, file bytes known", "≤ 1 % mean, 3 % worst", lambda p: p.basis == "weights"),
    Kind(
        "tokens and concurrency, KV memory logged",
        "≤ 3 % mean, 10 % worst",
        lambda p: p.row["kind"] == "kv_tokens" and p.basis == "KV memory logged",
    ),
    Kind(
        "KV memory and tokens from the card",
        "≤ 8 % mean",
        lambda p: p.row["kind"] in ("kv_memory", "kv_tokens") and p.basis == "KV memory from the card",
    ),
    Kind(
        "the same, checkpoint recipe unknown",
        "none",
        lambda p: p.basis.startswith("KV memory from the card, u"),
    ),
)


def main() -> int:
    """Write or verify; 1 when stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verify", action="store_true", help="write nothing; fail when the tables are stale")
    args = parser.parse_args()
    catalog = load_catalog()
    memory = predict_memory(_rows("memory-points.csv"), catalog)
    held = predict_memory(_rows("held-out-points.csv"), catalog)
    speed = predict_throughput(_rows("throughput-points.csv"), catalog)
    before = DOCUMENT.read_text(encoding="utf-8")
    after = before
    for name, lines in (
        ("matrix", matrix_lines(catalog)),
        ("accuracy", accuracy_lines(memory, speed, catalog)),
        ("flags", flag_lines(catalog)),
        ("held", point_lines(held)),
        ("points", point_lines(memory)),
        ("speeds", speed_lines(speed)),
    ):
        after = _replaced(after, name, lines)
    if args.verify:
        if after != before:
            print(f"{DOCUMENT.relative_to(ROOT)} is stale: run `make sizing-report`", file=sys.stderr)
        return int(after != before)
    DOCUMENT.write_text(after, encoding="utf-8")
    plot(memory, speed)
    print(f"wrote {DOCUMENT.relative_to(ROOT)} and {PLOT.relative_to(ROOT)}.svg, .png")
    return 0


def _rows(name: str) -> list[LogRow]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _replaced(text: str, name: str, lines: Iterable[str]) -> str:
    """The text with what stands between the two marks of that name replaced."""
    start, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    if not rest or not tail:
        raise SystemExit(f"{DOCUMENT.name} lacks the marks of {name}")
    return head + start + "\n".join(lines) + "\n" + end + tail


def matrix_lines(catalog: Catalog) -> list[str]:
    """Variants by accelerators, the planner's own precision."""
    world = World(catalog, PlanningSettings(require_token=False), Inventory())
    names = ["cpu" if key == CPU else key.removeprefix("nvidia-") for key in MATRIX_DEVICES]
    lines = [_line(["variant", *names]), _line(["---"] * (len(names) + 1))]
    rows: dict[str, list[str]] = {}
    for cell in matrix(world, MATRIX_DEVICES, (Precision.AUTO,), MATRIX_CONTEXT):
        if catalog.variants[cell.variant].form == "it":
            rows.setdefault(cell.variant, []).append(cell.text)
    return lines + [_line([f"`{variant}`", *cells]) for variant, cells in rows.items()]


def accuracy_lines(
    memory: Sequence[Prediction], speed: Sequence[SpeedPrediction], catalog: Catalog
) -> list[str]:
    """Mean and worst error per kind, over rows of high confidence and over all."""
    lines = [_line(["kind", "rows", "mean", "worst", "expected of it"]), _line(["---"] * 5)]
    for label, only in (("high confidence, version given", True), ("all", False)):
        for kind in KINDS:
            chosen = [p for p in memory if p.error is not None and kind.wanted(p)]
            if only:
                chosen = [p for p in chosen if p.row["confidence"] == "high" and _version_given(p, catalog)]
            lines.append(
                _error_line(f"{kind.name} ({label})", [abs(p.error or 0) for p in chosen], kind.bound)
            )
    compared = [p for p in speed if p.error is not None]
    for label, rows in (
        ("without low confidence", [p for p in compared if p.row["confidence"] != "low"]),
        ("all", compared),
    ):
        errors = [abs(p.error or 0) for p in rows]
        covered = sum(bool(p.covered) for p in rows) / len(rows)
        here = f"here {covered:.0%}, median {statistics.median(errors):.1%}"
        bound = f"≤ 15 % median, 30 % worst, ≥ 90 % covered ({here})"
        lines.append(_error_line(f"decode speed ({label})", errors, bound))
    fits = [p for p in memory if p.row["metric"] == "fits" and p.predicted is not None]
    right = sum(p.predicted == p.logged for p in fits)
    wrong = ", ".join(p.row["id"] for p in fits if p.predicted != p.logged)
    lines.append(_line(["fits or not", f"{len(fits)}", f"{right} right", f"wrong: {wrong or 'none'}", "all"]))
    return lines


def _version_given(prediction: Prediction, catalog: Catalog) -> bool:
    start = start_of(prediction.row, catalog)
    return start is not None and (start.version_given or not start.engine.startswith("vllm"))


def _error_line(name: str, errors: Sequence[float], bound: str) -> str:
    if not errors:
        return _line([name, "0", "", "", bound])
    return _line([name, str(len(errors)), f"{statistics.mean(errors):.2%}", f"{max(errors):.2%}", bound])


def point_lines(memory: Sequence[Prediction]) -> list[str]:
    """Every memory row with its prediction."""
    lines = [
        _line(["id", "model", "on", "metric", "logged", "predicted", "error", "basis"]),
        _line(["---"] * 8),
    ]
    for p in memory:
        row = p.row
        where = (
            f"{row['gpu'].split(' (')[0]}, {row['engine_version']}" if row["gpu"] else row["engine_version"]
        )
        predicted = "" if p.predicted is None else f"{p.predicted:.6g}"
        error = "" if p.error is None else f"{p.error:+.1%}"
        name = f"{row['model']} {row['precision']}"
        lines.append(_line([row["id"], name, where, row["metric"], row["value"], predicted, error, p.basis]))
    return lines


def flag_lines(catalog: Catalog) -> list[str]:
    """Rows from the card with and without the flags that the place they cite publishes."""
    rows = _rows("memory-points.csv")
    alone = {p.row["id"]: p for p in predict_memory([{**row, "source": ""} for row in rows], catalog)}
    lines = [_line(["id", "logged", "the row alone", "with published flags"]), _line(["---"] * 4)]
    for p in predict_memory(rows, catalog):
        before = alone[p.row["id"]]
        if p.error is not None and before.error is not None and p.predicted != before.predicted:
            lines.append(_line([p.row["id"], p.row["value"], f"{before.error:+.1%}", f"{p.error:+.1%}"]))
    return lines


def speed_lines(speed: Sequence[SpeedPrediction]) -> list[str]:
    """Every throughput row with its prediction."""
    heads = ["model", "on", "engine", "load", "compared", "logged", "predicted", "interval", "error"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for p in speed:
        row, interval = p.row, p.predicted
        load = f"{row['isl']} + {row['osl']}, {row['concurrency']} at once"
        lines.append(
            _line(
                [
                    f"{row['model'].split('/')[-1]} {row['precision'].split(' (')[0]}",
                    f"{row['n_gpu']} x {row['gpu']}",
                    row["engine"],
                    load,
                    p.metric,
                    "" if p.logged is None else f"{p.logged:.1f}",
                    "" if interval is None else f"{interval.expected:.1f}",
                    "" if interval is None else f"{interval.low:.0f} to {interval.high:.0f}",
                    "" if p.error is None else f"{p.error:+.1%}",
                ]
            )
        )
    return lines


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def plot(memory: Sequence[Prediction], speed: Sequence[SpeedPrediction]) -> None:
    """Predicted against logged on logarithmic axes, one panel per kind."""
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "gemma-operator"  # the same input gives the same file
    figure, panels = pyplot.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    weights = [p for p in memory if p.basis.startswith("weights") and p.logged and p.predicted]
    tokens = [p for p in memory if p.row["kind"] == "kv_tokens" and p.logged and p.predicted]
    panels_of = (
        (
            "weights (as logged: GiB, GB, MiB)",
            weights,
            lambda p: "known" if p.basis == "weights" else "unknown recipe",
        ),
        ("KV cache tokens and concurrency", tokens, lambda p: p.basis),
    )
    for panel, (title, points, label) in zip(panels, panels_of, strict=False):
        for name in dict.fromkeys(label(p) for p in points):
            chosen = [p for p in points if label(p) == name]
            panel.scatter([p.logged for p in chosen], [p.predicted for p in chosen], s=18, label=name)
        _diagonal(panel, title)
    compared = [p for p in speed if p.predicted is not None and p.logged]
    low = [p.predicted.expected - p.predicted.low for p in compared if p.predicted]
    high = [p.predicted.high - p.predicted.expected for p in compared if p.predicted]
    panels[2].errorbar(
        [p.logged for p in compared],
        [p.predicted.expected for p in compared if p.predicted],
        yerr=[low, high],
        fmt="o",
        markersize=4,
        linewidth=0.8,
        label="interval",
    )
    _diagonal(panels[2], "tokens per second")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("svg", "png"):
        metadata = {"Date": None} if suffix == "svg" else {"Software": None}
        figure.savefig(PLOT.with_suffix(f".{suffix}"), dpi=110, metadata=metadata)


def _diagonal(panel: Axes, title: str) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    low, high = min(panel.get_xlim()[0], panel.get_ylim()[0]), max(panel.get_xlim()[1], panel.get_ylim()[1])
    panel.plot([low, high], [low, high], color="grey", linewidth=0.8)
    panel.set(title=title, xlabel="logged", ylabel="predicted")
    panel.legend(fontsize=7)


if __name__ == "__main__":
    raise SystemExit(main())
