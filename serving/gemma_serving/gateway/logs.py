"""The gateway's log: one JSON object a line, each with the ids of the request it is about.

Field names are those that Google Cloud Logging and OpenTelemetry's collectors know: `time`, `severity`,
`message`, `trace_id`, `span_id`.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

FORMATS = ("json", "text")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FIELDS = ("levelname", "name", "message")
_NAMES = {"levelname": "severity", "name": "logger", "exc_info": "exception"}

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that the current task works for."""


class Correlation(logging.Filter):
    """Adds the ids of request and trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; keeps it."""
        identity = request_id.get()
        if identity is not None:
            record.request_id = identity
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            record.trace_id = trace.format_trace_id(context.trace_id)
            record.span_id = trace.format_span_id(context.span_id)
        return True


def formatter(log_format: str) -> logging.Formatter:
    """Of FORMATS; in JSON whatever is passed as `extra` becomes a field."""
    if log_format == "text":
        return logging.Formatter(_TEXT)
    return JsonFormatter(list(_FIELDS), rename_fields=_NAMES, timestamp="time")


def configure(log_format: str) -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler()
    handler.addFilter(Correlation())
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
