"""Alerts on the operator itself. Endpoints keep serving while it is down; nothing about them changes or
heals."""

from gemma_monitoring.rules.model import Alert, Group, Severity

STALE_WATCH_SECONDS = 300
"""The API server sends a bookmark about every minute (KEP-956)."""
BACKLOG_SECONDS = 120
ERROR_RATIO = 0.1
MINIMUM_ERRORS = 3
"""In ten minutes; a conflict or two are answered by trying again."""

OPERATOR = Group(
    "gemma.operator",
    "30s",
    (
        Alert(
            "GemmaOperatorDown",
            Severity.CRITICAL,
            "10m",
            "absent(gemma_operator_info)",
            "No gemma-operator reports",
            """It does not run, or nothing scrapes it. Endpoints keep serving; edits, healing of deleted
            children and all
            alerts about readiness wait for it.""",
        ),
        Alert(
            "GemmaOperatorWatchStale",
            Severity.CRITICAL,
            "5m",
            f"max by (namespace, resource) (gemma_operator_watch_age_seconds) > {STALE_WATCH_SECONDS}",
            "The operator hears nothing about {{ $labels.resource }}",
            """No event and no bookmark for {{ $value | humanizeDuration }}: it acts on an old picture of the
            cluster.""",
        ),
        Alert(
            "GemmaOperatorReconcileErrors",
            Severity.WARNING,
            "10m",
            f"""sum(rate(gemma_operator_reconcile_seconds_count{{outcome!="done"}}[10m]))
            / sum(rate(gemma_operator_reconcile_seconds_count[10m])) > {ERROR_RATIO}
            and sum(increase(gemma_operator_reconcile_seconds_count{{outcome!="done"}}[10m])) >=
            {MINIMUM_ERRORS}""",
            "{{ $value | humanizePercentage }} of the operator's reconciles fail",
            """A missing permission, an API server that fails, or a defect. The endpoints concerned have a
            condition with
            the reason Forbidden, ApiUnavailable or InternalError.""",
        ),
        Alert(
            "GemmaOperatorBacklog",
            Severity.WARNING,
            "10m",
            f"max(gemma_operator_queue_oldest_seconds) > {BACKLOG_SECONDS}",
            "A changed resource waits {{ $value | humanizeDuration }} for the operator",
            "There is more to reconcile than the operator gets done.",
        ),
    ),
)
