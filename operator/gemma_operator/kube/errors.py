"""What can go wrong with a request, as few kinds as there are different things to do about it."""


class ClusterError(Exception):
    """A request to the Kubernetes API did not do what it was for. The text is the API server's own."""


class UnavailableError(ClusterError):
    """No usable answer: connection, timeout, 429 or 5xx. The request may have been carried out."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ForbiddenError(ClusterError):
    """401 or 403: a permission is missing; the text names verb and resource."""


class ConflictError(ClusterError):
    """The object is not the one that was last seen. Look again."""


class NotFoundError(ClusterError):
    """There is no such object, or no such kind of object."""


class InvalidError(ClusterError):
    """The API server will not take this object, now or later."""


class GoneError(ClusterError):
    """The watch fell too far behind: list again."""


class NameTakenError(ClusterError):
    """An object of the needed name exists and belongs to somebody else."""


def error_for(status: int, message: str, retry_after: str | None) -> ClusterError:
    """The error for an HTTP status (Kubernetes API conventions, section "HTTP Status codes")."""
    if status in (401, 403):
        return ForbiddenError(message)
    if status == 404:
        return NotFoundError(message)
    if status == 409:
        return ConflictError(message)
    if status == 410:
        return GoneError(message)
    if status == 429 or status >= 500:
        return UnavailableError(message, _seconds(retry_after))
    return InvalidError(message)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as seconds; the Kubernetes API never sends the date form."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
