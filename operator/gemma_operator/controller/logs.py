"""The operator's log: one JSON object a line, each with the resource and the trace that it is about.

Field names are those that Google Cloud Logging and OpenTelemetry's collectors know: `time`, `severity`,
`message`, `trace_id`.
"""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from gemma_operator.kube.trace import current_trace

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FIELDS = ("levelname", "name", "message")
_NAMES = {"levelname": "severity", "name": "logger", "exc_info": "exception"}


class Correlation(logging.Filter):
    """Adds the GemmaDeployment that is reconciled, and the id of the reconcile."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; keeps it."""
        trace = current_trace()
        if trace is not None:
            record.gemmadeployment = f"{trace.key.namespace}/{trace.key.name}"
            record.trace_id = trace.trace_id
        return True


def handler_for(log_format: str) -> logging.Handler:
    """Standard error as `json` or `text`; in JSON whatever is passed as `extra` becomes a field."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Correlation())
    if log_format == "json":
        handler.setFormatter(JsonFormatter(list(_FIELDS), rename_fields=_NAMES, timestamp="time"))
    else:
        handler.setFormatter(logging.Formatter(_TEXT))
    return handler
