"""One condition's answer, before it gets a type, a generation and a time."""

from dataclasses import dataclass

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import ConditionStatus

MESSAGE_LIMIT = 2048
"""Characters. A scheduler's message about a thousand nodes is longer and says no more."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status, reason and message of a condition."""

    status: ConditionStatus
    reason: Reason
    message: str

    @staticmethod
    def true(reason: Reason, message: str) -> "Verdict":
        """It is so."""
        return Verdict(ConditionStatus.TRUE, reason, shortened(message))

    @staticmethod
    def false(reason: Reason, message: str) -> "Verdict":
        """It is not so."""
        return Verdict(ConditionStatus.FALSE, reason, shortened(message))

    @staticmethod
    def unknown(reason: Reason, message: str) -> "Verdict":
        """It cannot be said yet."""
        return Verdict(ConditionStatus.UNKNOWN, reason, shortened(message))


def shortened(message: str) -> str:
    """At most MESSAGE_LIMIT characters, on one line."""
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"
