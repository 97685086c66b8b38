"""The throughput model held against published benchmarks: predicted decode speed beside every row."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.planning.logged import LogRow, accelerator_of, number, scheme_of
from gemma_operator.planning.throughput import Interval, Load, Machine, Speed, gpu_speed

ANCHORS = {"qwen3-32b": "anchor-qwen3-32b", "llama-3.3-70b-instruct": "anchor-llama-3.3-70b"}
ENGINES = (
    ("trt", EngineName.TENSORRT_LLM),
    ("tensorrt", EngineName.TENSORRT_LLM),
    ("nim", EngineName.TENSORRT_LLM),
    ("vllm", EngineName.VLLM),
    ("llama.cpp", EngineName.LLAMA_CPP),
)
DEFAULT_PROMPT, DEFAULT_ANSWER = 128, 256
"""Tokens where the row names none."""


@dataclass(frozen=True, slots=True)
class SpeedPrediction:
    """One throughput row answered."""

    row: LogRow
    metric: str
    """What is compared: `tokens/s per request`, `tokens/s in all`, or why nothing is."""
    logged: float | None
    predicted: Interval | None
    speed: Speed | None = None

    @property
    def error(self) -> float | None:
        """Relative error of the expected value, signed."""
        if self.predicted is None or not self.logged:
            return None
        return self.predicted.expected / self.logged - 1

    @property
    def covered(self) -> bool | None:
        """Whether the interval holds the logged value."""
        if self.predicted is None or self.logged is None:
            return None
        return self.predicted.low <= self.logged <= self.predicted.high


def predict_throughput(rows: Iterable[LogRow], catalog: Catalog) -> list[SpeedPrediction]:
    """Answer every throughput row."""
    return [_predict(row, catalog) for row in rows]


def _predict(row: LogRow, catalog: Catalog) -> SpeedPrediction:
    body = _body(row["model"], catalog)
    engine = next((name for needle, name in ENGINES if needle in row["engine"].lower()), None)
    found = accelerator_of(row["gpu"], catalog)
    logged, metric = _logged(row)
    if body is None or engine is None or found is None or logged is None:
        missing = {"model": body, "engine": engine, "accelerator": found, "value": logged}
        names = ", ".join(name for name, value in missing.items() if value is None)
        return SpeedPrediction(row, f"not predicted: {names} unknown", logged, None)
    scheme = scheme_of(row["precision"].lower(), body, catalog, engine)
    load = _load(row)
    if scheme is None or load is None:
        return SpeedPrediction(row, "not predicted: precision or load unknown", logged, None)
    machine = Machine(found[1], engine, int(number(row["n_gpu"]) or 1))
    speed = gpu_speed(catalog, body, scheme, machine, load)
    predicted = speed.per_request if metric == "tokens/s per request" else speed.total
    return SpeedPrediction(row, metric, logged, predicted, speed)


def _body(model: str, catalog: Catalog) -> str | None:
    name = model.rsplit("/", maxsplit=1)[-1].split(" ", maxsplit=1)[0].lower()
    if name in ANCHORS:
        return ANCHORS[name]
    variant = catalog.variant(name)
    return variant.architecture if variant else None


def _logged(row: LogRow) -> tuple[float | None, str]:
    for column, scale, metric in (
        ("itl_or_tpot_ms", -1000.0, "tokens/s per request"),
        ("tok_s_per_user", 1.0, "tokens/s per request"),
        ("output_tok_s_total", 1.0, "tokens/s in all"),
    ):
        value = number(row.get(column, ""))
        if not value:
            continue
        return (-scale / value if scale < 0 else value), metric
    return None, "nothing logged"


def _load(row: LogRow) -> Load | None:
    numbers = re.findall(r"\d+", row["concurrency"])
    if not numbers:
        return None
    concurrency = max(1, *(int(one) for one in numbers))
    capped = re.search(r"max_num_seqs=(\d+)", row.get("notes", ""))
    if capped:
        concurrency = min(concurrency, int(capped[1]))
    return Load(
        concurrency, _tokens(row.get("isl", ""), DEFAULT_PROMPT), _tokens(row.get("osl", ""), DEFAULT_ANSWER)
    )


def _tokens(text: str, default: int) -> int:
    match = re.search(r"\d+", text)
    return max(1, int(match[0])) if match else default
