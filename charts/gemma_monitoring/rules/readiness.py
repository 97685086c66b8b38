"""Alerts on endpoints that do not come up or do not stay up. At zero on purpose means desired = 0: none
fires."""

from gemma_monitoring.rules.model import BY_ENDPOINT, ON_ENDPOINT, Alert, Group, Severity

FETCH_FAILURES = ("TokenRequired", "AccessDenied", "NotFound", "Corrupt", "NoSpace", "FetchFailed")
NOT_STARTING = ("Unschedulable", "ImagePullFailed", "PodsRejected")
"""Reasons of api/reasons.py."""
SHORTEST_STUCK_SECONDS = 600
"""Nobody is told about a load of less than ten minutes, however fast it usually is."""


def _condition(kind: str, *reasons: str) -> str:
    reason = f', reason=~"{"|".join(reasons)}"' if reasons else ""
    return f'gemma:endpoint_condition:max{{type="{kind}", status="False"{reason}}}'


READINESS = Group(
    "gemma.readiness",
    "30s",
    (
        Alert(
            "GemmaNoReadyReplica",
            Severity.CRITICAL,
            "5m",
            f"""gemma:replicas_desired:max > 0
            and {ON_ENDPOINT} gemma:replicas_ready:max == 0
            unless {ON_ENDPOINT} gemma:loading_seconds:max < {ON_ENDPOINT} gemma:startup_budget:seconds
            unless {ON_ENDPOINT} {_condition("WeightsReady", "Fetching", "WeightsPending")}""",
            "{{ $labels.namespace }}/{{ $labels.model }} answers nobody",
            """{{ $value }} replicas are wanted and none is ready, for longer than this endpoint ever took to
            start.""",
        ),
        Alert(
            "GemmaReplicasMissing",
            Severity.WARNING,
            "30m",
            f"""(gemma:replicas_desired:max - {ON_ENDPOINT} gemma:replicas_ready:max) > 0
            and {ON_ENDPOINT} gemma:replicas_ready:max > 0""",
            "{{ $labels.namespace }}/{{ $labels.model }} lacks {{ $value }} of its replicas",
            "The endpoint answers, with less capacity than asked for.",
        ),
        Alert(
            "GemmaLoadingStuck",
            Severity.WARNING,
            "5m",
            f"""gemma:loading_seconds:max > {ON_ENDPOINT} gemma:startup_budget:seconds
            and {ON_ENDPOINT} gemma:loading_seconds:max > {SHORTEST_STUCK_SECONDS}""",
            "A pod of {{ $labels.namespace }}/{{ $labels.model }} loads for {{ $value | humanizeDuration }}",
            """That is more than twice its slowest start of the last seven days (three times the prediction
            where
            there was none).""",
        ),
        Alert(
            "GemmaCrashLoop",
            Severity.WARNING,
            "5m",
            f"{_condition('PodsReady', 'CrashLoop')} == 1",
            "A container of {{ $labels.namespace }}/{{ $labels.model }} keeps crashing",
            "`kubectl describe gemma` shows its last line in the condition PodsReady.",
        ),
        Alert(
            "GemmaOutOfMemory",
            Severity.WARNING,
            "0m",
            f"max_over_time({_condition('PodsReady', 'OutOfMemory')}[15m]) == 1",
            "A container of {{ $labels.namespace }}/{{ $labels.model }} was killed for memory",
            """The kernel killed it at its memory limit within the last 15 minutes. It comes back, and will
            be killed again.""",
        ),
        Alert(
            "GemmaPodsNotStarting",
            Severity.WARNING,
            "15m",
            f"{_condition('PodsReady', *NOT_STARTING)} == 1",
            "Pods of {{ $labels.namespace }}/{{ $labels.model }} do not start: {{ $labels.reason }}",
            """No node has room or accelerators for them, an image cannot be pulled, or the API server
            refuses them.
            The condition's message is the scheduler's, kubelet's or API server's own.""",
        ),
        Alert(
            "GemmaSpecRefused",
            Severity.INFO,
            "15m",
            f"{_condition('Planned')} == 1",
            "The spec of {{ $labels.namespace }}/{{ $labels.model }} is refused: {{ $labels.reason }}",
            """It cannot be served as written. Pods of the last accepted spec keep running. The condition's
            message
            says what is needed, what there is and what would fit.""",
        ),
        Alert(
            "GemmaWeightsFailing",
            Severity.WARNING,
            "5m",
            f"{_condition('WeightsReady', *FETCH_FAILURES)} == 1",
            """The weights of {{ $labels.namespace }}/{{ $labels.model }} cannot be fetched: {{
            $labels.reason }}""",
            "New pods cannot start; those that run keep serving.",
        ),
        Alert(
            "GemmaWeightsStalled",
            Severity.WARNING,
            "15m",
            f"""{_condition("WeightsReady", "Fetching")} == 1
            and {ON_ENDPOINT} changes(gemma:weights_bytes:max{{state="done"}}[15m]) == 0""",
            "The weights of {{ $labels.namespace }}/{{ $labels.model }} have not grown for 15 minutes",
            "The fetch says it is running, but no byte arrives.",
        ),
        Alert(
            "GemmaMetricsAbsent",
            Severity.WARNING,
            "10m",
            f"""gemma:replicas_ready:max > 0
            unless {ON_ENDPOINT} group {BY_ENDPOINT} (gemma_concurrency_limit)""",
            "No metrics arrive from {{ $labels.namespace }}/{{ $labels.model }}",
            """{{ $value }} replicas are ready, but Prometheus has none of their series: nothing scrapes
            them. Alerts
            on their traffic are blind and the autoscaler has no signal.""",
        ),
        Alert(
            "GemmaRolloutRolledBack",
            Severity.WARNING,
            "5m",
            f"{_condition('UpToDate', 'RolledBack')} == 1",
            "The last edit of {{ $labels.namespace }}/{{ $labels.model }} failed and was rolled back",
            """Pods of the new spec did not become ready, so the last good ones serve again. The edit stays
            without effect until it is changed.""",
        ),
        Alert(
            "GemmaTemplateDrift",
            Severity.INFO,
            "1d",
            "gemma:template_drift:max == 1",
            "{{ $labels.namespace }}/{{ $labels.model }} runs pods of an older operator",
            """This operator would render other pods. They are left alone because upgradePolicy is Manual;
            take the
            change in when it suits.""",
        ),
    ),
)
