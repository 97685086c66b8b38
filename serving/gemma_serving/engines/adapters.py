"""LoRA adapters as PEFT and TRL write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

PEFT_CONFIG = "adapter_config.json"


def largest_rank(adapters: Mapping[str, str]) -> int:
    """Return the largest rank `r` among PEFT folders (name to path).

    Raises ValueError for a folder that is none, with the reason.
    """
    ranks = []
    for name, path in adapters.items():
        file = Path(path) / PEFT_CONFIG
        try:
            ranks.append(int(json.loads(file.read_text())["r"]))
        except OSError as error:
            raise ValueError(
                f"adapter {name!r}: {path} is no PEFT folder: {PEFT_CONFIG}: {error.strerror}"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"adapter {name!r}: {file} names no rank `r`: {error}") from error
    return max(ranks)
