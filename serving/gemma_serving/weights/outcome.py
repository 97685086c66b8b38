"""How a fetch ends: a reason in the operator's words, a sentence for a person, and how far it came."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Reasons of the condition WeightsReady that a fetch can give; the operator copies them as they are."""

    WEIGHTS_READY = "WeightsReady"
    FETCHING = "Fetching"
    WEIGHTS_PENDING = "WeightsPending"
    TOKEN_REQUIRED = "TokenRequired"
    ACCESS_DENIED = "AccessDenied"
    NOT_FOUND = "NotFound"
    CORRUPT = "Corrupt"
    NO_SPACE = "NoSpace"
    FETCH_FAILED = "FetchFailed"


TERMINATION_MESSAGE_BYTES = 4096
"""The kubelet keeps so much and would cut the JSON in two."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Final result, or progress so far; sizes in bytes."""

    reason: Reason
    message: str
    revision: str | None = None
    """Commit that the revision was resolved to."""
    bytes_done: int = 0
    bytes_total: int = 0

    def to_json(self) -> str:
        """One line that fits into a termination message; of a long sentence the end is left out."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        line = json.dumps(fields)
        while len(line) > TERMINATION_MESSAGE_BYTES:
            fields["message"] = fields["message"][: len(fields["message"]) * 3 // 4] + "…"
            line = json.dumps(fields)
        return line


class WeightsError(Exception):
    """The fetch cannot go on; the text says what is needed, what there is, and what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceUnavailableError(Exception):
    """The source did not answer, or broke off: worth another try."""


_UNITS = ("B", "kB", "MB", "GB", "TB")


def human_bytes(count: float) -> str:
    """Bytes in decimal units, as hubs and volumes are labelled.

    >>> human_bytes(253_113_024)
    '253.1 MB'
    """
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"
