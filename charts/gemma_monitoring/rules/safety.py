"""Alerts on the guard, the limits and the certificates in front of an endpoint."""

from gemma_monitoring.registry import FAILED_OPEN
from gemma_monitoring.rules.model import BY_ENDPOINT, Alert, Group, Severity

MINIMUM_UNGUARDED = 3
"""In ten minutes; one or two are a guard's pod being replaced."""
CERTIFICATE_DAYS = 14
"""Renewal starts 30 days before the end by cert-manager's default, so half of that has been tried in vain."""

SAFETY = Group(
    "gemma.safety",
    "30s",
    (
        Alert(
            "GemmaGuardFailingOpen",
            Severity.CRITICAL,
            "0m",
            f"""sum {BY_ENDPOINT} (increase(gemma_safety_decisions_total{{decision="{FAILED_OPEN}"}}[10m]))
            >= {MINIMUM_UNGUARDED}""",
            "{{ $labels.namespace }}/{{ $labels.model }} answers without its guard",
            """About {{ $value | humanize }} texts passed unchecked in ten minutes, because the guard did not
            answer and
            onGuardFailure is Open.""",
        ),
        Alert(
            "GemmaLimitStoreDown",
            Severity.WARNING,
            "5m",
            f"min {BY_ENDPOINT} (gemma_limit_store_up) == 0",
            "{{ $labels.namespace }}/{{ $labels.model }} cannot reach its limit store",
            "Replicas count on their own meanwhile, so a key gets up to its limit from each of them.",
        ),
        Alert(
            "GemmaCertificateExpiring",
            Severity.WARNING,
            "1h",
            f"""min by (namespace, name) (label_replace(certmanager_certificate_expiration_timestamp_seconds,
            "namespace", "$1", "exported_namespace", "(.+)")) - time() < {CERTIFICATE_DAYS} * 86400
            and on (namespace) group by (namespace) (gemma:endpoint:info)""",
            "Certificate {{ $labels.namespace }}/{{ $labels.name }} ends in {{ $value | humanizeDuration }}",
            "It should have been renewed by now. Callers of the endpoints behind it will be refused.",
        ),
    ),
)
