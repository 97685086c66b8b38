"""What each consumer used, since this replica started."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Totals:
    """Of one consumer."""

    requests: int = 0
    rejected: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class UsageBook:
    """Totals by consumer."""

    def __init__(self) -> None:
        self._totals: dict[str, Totals] = {}

    def of(self, name: str) -> Totals:
        """A consumer's own totals."""
        return self._totals.setdefault(name, Totals())

    def to_json(self, name: str) -> dict[str, Any]:
        """A consumer's own totals, for the API."""
        return asdict(self.of(name))
