"""What to do about a failure of reconcile: what the user is told, and when it is tried again. Pure."""

from dataclasses import dataclass

from gemma_operator.api.reasons import Reason
from gemma_operator.controller.queue import retry_seconds
from gemma_operator.kube.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NameTakenError,
    UnavailableError,
)

PATIENCE = 4
"""Failures in a row of the passing kind before the user is told: about 7 s of trouble."""
SLOWEST_RECHECK_SECONDS = 30.0
"""A permission granted or a name freed is noticed at least so soon: neither sends an event."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How one failure is answered."""

    reason: Reason
    message: str
    retry_seconds: float
    is_told: bool
    """Whether it goes into the conditions: not while it may pass by itself."""
    is_defect: bool = False
    """Whether the log gets the trace."""


def failure_of(error: Exception, failures: int) -> Failure:
    """The answer to an error that is the `failures`-th in a row for its key."""
    delay = retry_seconds(failures)
    message = str(error)
    match error:
        case NameTakenError():
            return Failure(Reason.NAME_TAKEN, message, min(delay, SLOWEST_RECHECK_SECONDS), True)
        case ForbiddenError():
            return Failure(Reason.FORBIDDEN, message, min(delay, SLOWEST_RECHECK_SECONDS), True)
        case InvalidError():
            return Failure(Reason.REJECTED, message, delay, True)
        case UnavailableError(retry_after_seconds=asked):
            return Failure(Reason.API_UNAVAILABLE, message, max(delay, asked or 0.0), failures >= PATIENCE)
        case ConflictError() | ClusterError():
            return Failure(Reason.API_UNAVAILABLE, message, delay, failures >= PATIENCE)
        case _:
            told = f"a defect of the operator, whose log has the trace: {type(error).__name__}: {message}"
            return Failure(Reason.INTERNAL_ERROR, told, delay, True, is_defect=True)
