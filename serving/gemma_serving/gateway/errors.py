"""Errors as the OpenAI API words them: `{"error": {"message", "type", "param", "code"}}` and a status
code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gemma_serving.contract import Failed, FailureCode

INVALID = "invalid_request_error"
"""`type` of every fault of the caller."""


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal or failure that the caller sees."""

    status: int
    message: str
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    retry_after_seconds: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The OpenAI error object."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def response_headers(self) -> dict[str, str]:
        """Headers that go with the status."""
        retry = self.retry_after_seconds
        return self.headers if retry is None else {**self.headers, "retry-after": str(retry)}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request cannot be served as it is."""
    return ApiError(400, message, code=code, param=param)


def model_not_found(name: str, served: list[str]) -> ApiError:
    """404: another model than the served ones was asked for."""
    message = f"The model {name!r} does not exist; this endpoint serves {', '.join(map(repr, served))}."
    return ApiError(404, message, code="model_not_found", param="model")


def adapter_not_loaded(name: str, failure: str | None) -> ApiError:
    """503: the adapter is the deployment's, and this replica does not have it yet."""
    why = "it is being loaded" if failure is None else failure.rstrip(".")
    return ApiError(
        503,
        f"The model {name!r} is not loaded on this replica: {why}. Retry later.",
        "server_error",
        "adapter_not_loaded",
        "model",
        retry_after_seconds=5,
    )


def queue_full(retry_after_seconds: int) -> ApiError:
    """429: no slot is free and the queue is full."""
    return ApiError(
        429,
        "All slots are busy and the queue is full. Retry later, or raise capacity or replicas.",
        "rate_limit_error",
        "rate_limit_exceeded",
        retry_after_seconds=retry_after_seconds,
    )


def waited_too_long(seconds: float, retry_after_seconds: int) -> ApiError:
    """503: no slot became free within the request's time."""
    message = f"No slot became free within {seconds:.0f} s. Retry later."
    return ApiError(503, message, "server_error", "queue_timeout", retry_after_seconds=retry_after_seconds)


def took_too_long(seconds: float) -> ApiError:
    """504: the answer was not finished within the request's time."""
    message = f"The answer was not finished within {seconds:.0f} s. Ask for fewer tokens, or stream."
    return ApiError(504, message, "server_error", "request_timeout")


def draining(retry_after_seconds: int) -> ApiError:
    """503: the pod is going away; the connection is closed so that the next request reaches another."""
    return ApiError(
        503,
        "This replica is shutting down. Retry: another one will answer.",
        "server_error",
        "draining",
        retry_after_seconds=retry_after_seconds,
        headers={"connection": "close"},
    )


def engine_unavailable(detail: str) -> ApiError:
    """503: the engine cannot be reached or has not started."""
    message = f"The engine does not answer: {detail}"
    return ApiError(503, message, "server_error", "engine_unavailable", retry_after_seconds=5)


def from_failure(failed: Failed) -> ApiError:
    """What an engine's `failed` event means to the caller."""
    match failed.code:
        case FailureCode.INVALID_REQUEST:
            return invalid(failed.message, failed.param)
        case FailureCode.CONTEXT_LENGTH_EXCEEDED:
            return invalid(failed.message, failed.param, "context_length_exceeded")
        case FailureCode.UNSUPPORTED:
            return invalid(failed.message, failed.param, "unsupported")
        case FailureCode.OVERLOADED:
            return queue_full(retry_after_seconds=1)
        case _:
            return ApiError(500, f"The engine failed: {failed.message}", "server_error", "engine_error")
