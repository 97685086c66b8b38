"""`plan --points`: a log table in, the same table with predicted value, error and terms beside every row
out."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from gemma_operator.catalog import Catalog
from gemma_operator.cli.documents import InputError
from gemma_operator.planning.logged import LogRow
from gemma_operator.planning.points import predict_memory
from gemma_operator.planning.throughput_points import predict_throughput

MEMORY_COLUMNS = ("model", "precision", "gpu", "metric", "value", "unit")
THROUGHPUT_COLUMNS = ("model", "gpu", "n_gpu", "precision", "engine", "concurrency", "tok_s_per_user")


def read_points(path: str) -> list[LogRow]:
    """Rows of a CSV file. Raises InputError."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows: list[LogRow] = [
                {key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from error
    if not rows:
        raise InputError(f"{path}: holds no rows")
    return rows


def answer_points(path: str, catalog: Catalog) -> str:
    """The file's CSV with four more columns. Raises InputError for a table of neither kind."""
    rows = read_points(path)
    columns = rows[0].keys()
    if all(name in columns for name in MEMORY_COLUMNS):
        return _memory(rows, catalog)
    if all(name in columns for name in THROUGHPUT_COLUMNS):
        return _throughput(rows, catalog)
    raise InputError(
        f"{path}: needs the columns {', '.join(MEMORY_COLUMNS)} (memory) or "
        f"{', '.join(THROUGHPUT_COLUMNS)} (speed)"
    )


def _memory(rows: Sequence[LogRow], catalog: Catalog) -> str:
    answered = []
    for prediction in predict_memory(rows, catalog):
        terms = "; ".join(f"{name} {value:.2f}" for name, value in prediction.terms.items())
        answered.append(
            {
                **prediction.row,
                "predicted": _number(prediction.predicted),
                "error_percent": _percent(prediction.error),
                "basis": prediction.basis,
                "terms_gib": terms,
            }
        )
    return _csv(answered)


def _throughput(rows: Sequence[LogRow], catalog: Catalog) -> str:
    answered = []
    for prediction in predict_throughput(rows, catalog):
        interval = prediction.predicted
        answered.append(
            {
                **prediction.row,
                "compared": prediction.metric,
                "predicted": _number(interval.expected if interval else None),
                "low": _number(interval.low if interval else None),
                "high": _number(interval.high if interval else None),
                "error_percent": _percent(prediction.error),
            }
        )
    return _csv(answered)


def _csv(rows: Sequence[LogRow]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error * 100:+.2f}"
