"""Which reconcile the current task works for: in its log lines, and in the headers of its requests.

The API server's own tracing and its front proxies follow W3C trace context, so that a line of the operator's
log leads to what happened there. The operator records no spans of its own, and so never asks for sampling.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from gemma_operator.api.manifest import ObjectKey


@dataclass(frozen=True, slots=True)
class Trace:
    """One reconcile."""

    key: ObjectKey
    """The GemmaDeployment."""
    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    """32 hexadecimal digits."""

    def header(self) -> str:
        """`traceparent` of one request: a span of its own, not sampled."""
        return f"00-{self.trace_id}-{secrets.token_hex(8)}-00"


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current_trace() -> Trace | None:
    """Of the current task; None outside a reconcile."""
    return _current.get()


@contextmanager
def traced(key: ObjectKey) -> Iterator[None]:
    """All inside belongs to one new trace."""
    token = _current.set(Trace(key))
    try:
        yield
    finally:
        _current.reset(token)
