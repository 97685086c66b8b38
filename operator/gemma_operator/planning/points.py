"""The planner held against logs: for each row of a log table the predicted value, its error and the terms."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gemma_operator.api.quantity import GIB, MIB
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.planning.drafting import DRAFTER_ELEMENT_BYTES, DRAFTER_SHARE
from gemma_operator.planning.kv_cache import KvCache, TensorRTCache, VllmCache
from gemma_operator.planning.logged import (
    ASSUMED_FREE_FRACTION,
    ASSUMED_UTILIZATION,
    CHUNKED_MEDIA_SINCE,
    LoggedStart,
    LogRow,
    number,
    start_of,
    stated_batched_tokens,
)
from gemma_operator.planning.memory import Demand, EngineSetup, demand_of
from gemma_operator.planning.weights import BITS, WeightLayout, weight_layout

UNITS = {"GiB": GIB, "GB": 10**9, "MiB": MIB, "MB": 10**6, "bytes": 1}
VENDOR_OVERHEAD = 1.2
"""Google's Gemma 4 memory table multiplies the 16-, 8- and 4-bit sizes by this (its own note: about 20 %)."""
VENDOR_BITS = {"bf16": 16, "sfp8": 8, "q4_0": 4}
UNITLESS = ("fits", "max_concurrency", "kv_cache_tokens", "num_gpu_blocks")
"""Beginnings of the metrics that are counts."""
SMALLEST_STEP = (512, 4)
"""A row that only says `fits` is given the smallest step a plan would choose."""
FALLBACK_CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row answered."""

    row: LogRow
    predicted: float | None
    basis: str
    """What the number rests on: `weights`, `KV memory logged`, `KV memory from the card`, ..., or why there
    is none."""
    terms: dict[str, float] = field(default_factory=dict)
    """GiB by name."""

    @property
    def logged(self) -> float | None:
        """The row's value."""
        return number(self.row.get("value", ""))

    @property
    def error(self) -> float | None:
        """Relative error, signed; None where there is nothing to compare."""
        if self.predicted is None or not self.logged:
            return None
        return self.predicted / self.logged - 1


def predict_memory(rows: Iterable[LogRow], catalog: Catalog) -> list[Prediction]:
    """Answer every memory row. KV memory that a row's own start logged is used for its token counts."""
    table = list(rows)
    logged = _logged_kv_memory(table)
    filled = _logged_utilization(table)
    stated = {
        _start_key(row, True): tokens for row in table if (tokens := stated_batched_tokens(row)) is not None
    }
    predictions = []
    for row in table:
        start = start_of(row, catalog, stated.get(_start_key(row, True)))
        if start is not None and start.utilization is None:
            start = replace(start, utilization=filled.get(_start_key(row, True)))
        predictions.append(_predict(row, start, catalog, logged))
    return predictions


def _start_key(row: LogRow, with_context: bool) -> tuple[str, ...]:
    names = ["model", "precision", "gpu", "tp", "engine_version", "gpu_mem_util"]
    key = tuple(row.get(name, "") for name in names)
    eager = "eager" if "eager" in row["metric"] else ""
    return (*key, eager, row.get("max_model_len", "") if with_context else "any")


def _logged_kv_memory(rows: Iterable[LogRow]) -> dict[tuple[str, ...], float]:
    """KV bytes by start. The pool does not depend on the context, so a start of another context also
    tells."""
    memory: dict[tuple[str, ...], float] = {}
    for row in rows:
        if not row["metric"].startswith("kv_cache_memory"):
            continue
        value, unit = number(row["value"]), UNITS.get(row["unit"])
        if value is not None and unit is not None:
            for with_context in (True, False):
                memory.setdefault(_start_key(row, with_context), value * unit)
    return memory


def _logged_utilization(rows: Iterable[LogRow]) -> dict[tuple[str, ...], float]:
    """Utilisation of starts that do not name it, from the memory that their own log says is in use."""
    shares: dict[tuple[str, ...], float] = {}
    for row in rows:
        used, unit = number(row["value"]), UNITS.get(row["unit"])
        visible = number(row.get("gpu_mem_gib_visible", ""))
        if row["metric"].startswith("gpu_memory_used") and used and unit and visible:
            share = used * unit / (visible * GIB)
            if share <= 1:
                shares[_start_key(row, True)] = share
    return shares


_NOTED_KV = re.compile(r"~?([\d.]+)(?:-([\d.]+))?\s*(GB|GiB)(?: of)? KV|KV memory ([\d.]+)(?:-([\d.]+))? GiB")


def _noted_kv_bytes(row: LogRow) -> float | None:
    match = _NOTED_KV.search(row.get("notes", ""))
    if match is None:
        return None
    if match[4]:
        return (float(match[4]) + float(match[5] or match[4])) / 2 * GIB
    return float(match[1]) * (GIB if match[3] == "GiB" else 10**9)


def _predict(
    row: LogRow, start: LoggedStart | None, catalog: Catalog, logged: dict[tuple[str, ...], float]
) -> Prediction:
    if start is None:
        return Prediction(row, None, "the catalogue has no such model")
    metric = row["metric"]
    if row["unit"] not in UNITS and not metric.startswith(UNITLESS):
        return Prediction(row, None, f"not modelled: unit {row['unit']}")
    if metric == "memory_to_load":
        return _vendor_table(row, start, catalog)
    if start.engine == "other" or start.scheme is None:
        return Prediction(
            row, None, f"not modelled: {row.get('engine_version', '')} {row.get('precision', '')}".strip()
        )
    if metric in (
        "checkpoint_size",
        "disk_size",
        "file_size",
        "model_buffer",
        "weights_loaded",
        "hbm_used_after_load",
    ):
        return _weights(row, start, catalog)
    return _start_prediction(row, start, catalog, logged)


def _layout(start: LoggedStart, catalog: Catalog, ranks: int) -> WeightLayout:
    engine = EngineName.LLAMA_CPP if (start.scheme or "").startswith("gguf") else EngineName.VLLM
    return weight_layout(catalog, start.architecture_key, start.scheme or "bf16", engine, ranks)


def _dropped_bytes(start: LoggedStart, row: LogRow, catalog: Catalog) -> int:
    """Towers that a text-only repack, or a note of the row, leaves out."""
    layout = _layout(start, catalog, 1)
    parameters = catalog.architectures[start.architecture_key].parameters
    if start.text_only:
        return sum(group.bytes for group in layout.groups if group.name in ("towers", "projector"))
    if "audio tower not loaded" in row.get("notes", ""):
        return 2 * parameters.audio
    return 0


def _weights(row: LogRow, start: LoggedStart, catalog: Catalog) -> Prediction:
    ranks = start.tensor_parallel_size
    layout = _layout(start, catalog, ranks)
    is_file = row["metric"] in ("checkpoint_size", "disk_size", "file_size", "model_buffer")
    value = layout.file_bytes if is_file else layout.loaded_bytes
    value -= _dropped_bytes(start, row, catalog) // (1 if is_file else ranks)
    terms = {group.name: group.bytes / GIB for group in layout.groups}
    unit = UNITS[row["unit"]]
    basis = "weights" if start.checkpoint_known else "weights of an unknown recipe"
    return Prediction(row, value / unit, basis, terms)


def _vendor_table(row: LogRow, start: LoggedStart, catalog: Catalog) -> Prediction:
    bits = VENDOR_BITS.get(row["precision"].lower())
    if bits is None or not start.variant_key.startswith("gemma-4"):
        return Prediction(row, None, "a vendor table whose arithmetic is not published")
    size = catalog.architectures[start.architecture_key].parameters.file * bits / BITS
    return Prediction(row, size * VENDOR_OVERHEAD / GIB, "vendor's arithmetic: parameters x bits x 1.2")


def setup_of(row: LogRow, start: LoggedStart, catalog: Catalog) -> EngineSetup | None:
    """The engine start of a row; None when it does not say how much memory there is."""
    if start.device_gib is None:
        return None
    target = catalog.architectures[start.architecture_key].parameters.file
    draft = int(target * DRAFTER_SHARE) * DRAFTER_ELEMENT_BYTES if start.drafter else 0
    return EngineSetup(
        catalog=catalog,
        architecture_key=start.architecture_key,
        scheme=start.scheme or "bf16",
        engine=EngineName.TENSORRT_LLM if start.engine == "tensorrt" else EngineName.VLLM,
        version=start.version,
        tensor_parallel_size=start.tensor_parallel_size,
        device_bytes=int(start.device_gib * GIB),
        utilization=start.utilization or _default_utilization(start),
        batched_tokens=start.batched_tokens,
        max_sequences=start.max_sequences,
        kv_element_bytes=start.kv_element_bytes,
        images=start.images,
        cuda_graphs=not start.eager,
        draft_bytes=draft // start.tensor_parallel_size,
    )


def _default_utilization(start: LoggedStart) -> float:
    return ASSUMED_FREE_FRACTION if start.engine == "tensorrt" else ASSUMED_UTILIZATION


def _start_prediction(
    row: LogRow, start: LoggedStart, catalog: Catalog, logged: dict[tuple[str, ...], float]
) -> Prediction:
    setup = setup_of(row, start, catalog)
    if setup is None:
        return Prediction(row, None, "the row does not say how much memory there is")
    demand = demand_of(setup)
    if row["metric"] == "fits":
        return _fits(row, start, setup)
    pool = demand.pool_bytes + _dropped_bytes(start, row, catalog) // start.tensor_parallel_size
    basis = "KV memory from the card" if start.checkpoint_known else "KV memory from the card, unknown recipe"
    if not row["metric"].startswith(UNITLESS):
        return _memory(row, start, demand, pool, basis)
    known = logged.get(_start_key(row, True)) or logged.get(_start_key(row, False)) or _noted_kv_bytes(row)
    if known:
        pool, basis = int(known), "KV memory logged"
    return _capacity(row, start, demand.cache, pool, Prediction(row, None, basis, _terms(demand)))


def _memory(row: LogRow, start: LoggedStart, demand: Demand, pool: int, basis: str) -> Prediction:
    """Rows that give bytes of a start beside its weights."""
    metric, terms, unit = row["metric"], _terms(demand), UNITS[row["unit"]]
    size: float | None = None
    if metric.startswith("kv_cache_memory"):
        tpu = start.engine == "vllm-full"
        size, basis = (None, "not modelled: memory of a TPU") if tpu else (max(0, pool), basis)
    elif metric == "cuda_graph_memory":
        size = next((term.bytes for term in demand.overhead if term.name == "CUDA graphs"), 0)
        basis = "captured graphs"
    elif metric.startswith("gpu_memory_used"):
        given = bool(row.get("gpu_mem_util"))
        basis = "utilisation x visible memory" if given else "gives its start the utilisation"
        size = demand.usable_bytes if given else None
    else:
        basis = f"not modelled: {metric}"
    return Prediction(row, None if size is None else size / unit, basis, terms)


def _capacity(row: LogRow, start: LoggedStart, cache: KvCache, pool: int, answer: Prediction) -> Prediction:
    """Tokens, or requests at once, that a pool of that size holds."""
    if isinstance(cache, TensorRTCache):
        return replace(answer, predicted=pool / cache.specs.full_bytes(1, start.kv_element_bytes))
    if start.engine == "vllm-full" and isinstance(cache, VllmCache):
        cache = replace(cache, hybrid=False, base_block=1)
    if row["metric"].startswith("num_gpu_blocks") and isinstance(cache, VllmCache) and cache.hybrid:
        return replace(answer, predicted=float(max(0, pool) // cache.block_bytes))
    derived = isinstance(cache, VllmCache) and cache.derived_tokens and cache.hybrid
    if start.context is None and derived:
        return replace(answer, basis="the row does not say the context length")
    capacity = cache.capacity(max(0, pool), start.context or FALLBACK_CONTEXT)
    value = capacity.concurrency if row["metric"].startswith("max_concurrency") else float(capacity.tokens)
    return replace(answer, predicted=value, terms={**answer.terms, "KV pool": pool / GIB})


def _fits(row: LogRow, start: LoggedStart, setup: EngineSetup) -> Prediction:
    """Whether any step a plan would choose holds one request; a row without a context means the variant's
    maximum."""
    context = start.context or setup.catalog.variants[start.variant_key].context_length
    tokens, sequences = SMALLEST_STEP
    candidates = [setup]
    if start.version >= CHUNKED_MEDIA_SINCE:  # before, a step could not be smaller than the context
        candidates.append(replace(setup, batched_tokens=2048, max_sequences=16))
        candidates.append(replace(setup, batched_tokens=tokens, max_sequences=sequences))
    fits = False
    for candidate in candidates:
        demand = demand_of(candidate)
        cache = demand.cache
        if start.engine == "vllm-full" and isinstance(cache, VllmCache):
            cache = replace(cache, hybrid=False)
        fits = fits or cache.request_bytes(context) <= demand.pool_bytes
    needs = demand.weights.bytes + demand.overhead_bytes + cache.request_bytes(context)
    terms = {**_terms(demand), "needs": needs / GIB, "has": demand.usable_bytes / GIB}
    return Prediction(row, float(fits), "fits", terms)


def _terms(demand: Demand) -> dict[str, float]:
    terms = {"usable": demand.usable_bytes / GIB, "weights": demand.weights.bytes / GIB}
    terms |= {term.name: term.bytes / GIB for term in demand.overhead}
    return terms
