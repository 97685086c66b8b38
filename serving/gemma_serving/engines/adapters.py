"""LoRA adapters as PEFT and TRL write them."""

from __future__ import annotations

import json
from pathlib import Path

from gemma_serving.contract import RuntimeConfig

PEFT_CONFIG = "adapter_config.json"


def planned_rank(config: RuntimeConfig) -> int:
    """Return the rank that the engine is to reserve memory for.

    Raises ValueError for an adapter whose rank is larger: memory was planned without it. With slots for
    later ones a bad adapter stops no start: each is judged when it is loaded.
    """
    if config.adapter_slots is not None and config.adapter_rank is not None:
        return config.adapter_rank
    ranks = {name: rank_of(name, path) for name, path in sorted(config.adapters.items())}
    planned = config.adapter_rank or max(ranks.values())
    for name, rank in ranks.items():
        _check_rank(name, rank, planned)
    return planned


def check_fits(name: str, path: str, planned: int) -> None:
    """Raise ValueError where the folder at `path` is no PEFT folder, or of a rank above the planned one."""
    _check_rank(name, rank_of(name, path), planned)


def _check_rank(name: str, rank: int, planned: int) -> None:
    if rank > planned:
        raise ValueError(
            f"adapter {name!r} has rank {rank} and memory is planned for {planned}: set its rank in "
            f"model.adapters to {rank}"
        )


def slots(config: RuntimeConfig) -> int:
    """Return how many adapters the engine is to have room for."""
    return len(config.adapters) if config.adapter_slots is None else config.adapter_slots


def rank_of(name: str, path: str) -> int:
    """Return the rank `r` of one PEFT folder; ValueError says why it is none."""
    file = Path(path) / PEFT_CONFIG
    try:
        return int(json.loads(file.read_text())["r"])
    except OSError as error:
        raise ValueError(
            f"adapter {name!r}: {path} is no PEFT folder: {PEFT_CONFIG}: {error.strerror}"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"adapter {name!r}: {file} names no rank `r`: {error}") from error
