"""The spec's own engine arguments: taken over, or refused with the reason and the nearest known name."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import EngineVersion
from gemma_operator.planning.plan import Refusal

_OWN_FIELDS = {
    "max_model_len": "model.contextLength",
    "max_seq_len": "model.contextLength",
    "max_num_seqs": "capacity.maxConcurrentRequests",
    "max_batch_size": "capacity.maxConcurrentRequests",
    "tensor_parallel_size": "hardware.count",
    "quantization": "model.precision",
    "dtype": "model.precision",
    "enable_lora": "model.adapters",
    "model": "model.source",
    "limit_mm_per_prompt": "media.maxItems",
}
"""Arguments that have a field of the spec."""


def refused_argument(given: Mapping[str, Any], version: EngineVersion, catalog: Catalog) -> Refusal | None:
    """Why one of the spec's arguments cannot be passed to this version, or None."""
    engine = f"{version.engine.value} {version.version}"
    known = catalog.known_arguments.get((version.engine, version.version))
    if given and known is None:
        listed = ", ".join(v for e, v in catalog.known_arguments if e is version.engine)
        return _refusal(
            f"engine.arguments: which arguments {engine} knows is not on record; it is for {listed}; name an "
            "image of one of these, or leave the arguments out"
        )
    for name in sorted(given):
        sentence = _planned(name, version.engine, catalog) or _unknown(name, engine, known or frozenset())
        if sentence:
            return _refusal(f"engine.arguments: {sentence}")
    return None


def _refusal(message: str) -> Refusal:
    return Refusal(Reason.ARGUMENT_REFUSED, message)


def _planned(name: str, engine: EngineName, catalog: Catalog) -> str | None:
    for row in catalog.refused_arguments:
        if row.engine is engine and name in row.planned:
            field = _OWN_FIELDS.get(name)
            return f"{name} is the plan's; {f'set {field} instead' if field else 'leave it out'}"
        if row.engine is engine and name in row.unsafe:
            return f"{name} would run code, read files or open the engine beside the gateway; leave it out"
    return None


def _unknown(name: str, engine: str, known: frozenset[str]) -> str | None:
    if name in known:
        return None
    nearest = get_close_matches(name, sorted(known), 1)
    hint = f"; the nearest it has is {nearest[0]}" if nearest else ""
    return f"{engine} has no argument {name}{hint}"
