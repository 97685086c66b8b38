"""Alerts on what callers feel, objectives or not."""

from gemma_monitoring.rules.model import ON_ENDPOINT, Alert, Group, Severity

MINIMUM_REQUESTS = 20
"""In five minutes; below that a ratio says nothing."""
_BUSY = f"and {ON_ENDPOINT} gemma:judged_requests:rate5m * 300 >= {MINIMUM_REQUESTS}"
FAILED_RATIO = 0.05
REJECTED_RATIO = 0.05
KV_CACHE_RATIO = 0.95
"""Engines preempt or queue when the cache is full; above this a long prompt no longer finds room."""
STALLED_SECONDS = 120
"""A prefill step of the longest context takes seconds on a GPU and under a minute on the CPU engine."""

TRAFFIC = Group(
    "gemma.requests",
    "30s",
    (
        Alert(
            "GemmaRequestsFailing",
            Severity.CRITICAL,
            "5m",
            f"gemma:failed_requests:ratio_rate5m > {FAILED_RATIO} {_BUSY}",
            """{{ $labels.namespace }}/{{ $labels.model }} fails {{ $value | humanizePercentage }} of its
            requests""",
            "Requests end with an error of the server: the engine failed, timed out or went away.",
        ),
        Alert(
            "GemmaRequestsRejected",
            Severity.WARNING,
            "10m",
            f"gemma:overload_rejections:ratio_rate5m > {REJECTED_RATIO} {_BUSY}",
            """{{ $labels.namespace }}/{{ $labels.model }} turns away {{ $value | humanizePercentage }} of
            its requests""",
            """The queue is full or requests wait past their deadline (429 and 503 with Retry-After). There
            is less
            capacity than traffic.""",
        ),
        Alert(
            "GemmaQueueSustained",
            Severity.WARNING,
            "10m",
            f"gemma:requests_waiting:sum > {ON_ENDPOINT} gemma:concurrency_limit:sum",
            "{{ $labels.namespace }}/{{ $labels.model }} has {{ $value }} requests waiting for ten minutes",
            """More requests wait than all replicas together generate at once, so a newcomer waits for a
            whole turn.""",
        ),
        Alert(
            "GemmaKVCacheSaturated",
            Severity.WARNING,
            "10m",
            f"gemma:kv_cache:ratio > {KV_CACHE_RATIO}",
            """{{ $labels.namespace }}/{{ $labels.model }} has {{ $value | humanizePercentage }} of its KV
            cache in use""",
            "Long prompts wait or are recomputed because the KV cache holds no more tokens.",
        ),
        Alert(
            "GemmaEngineStalled",
            Severity.CRITICAL,
            "2m",
            f"""(time() - gemma_engine_last_step_seconds) > {STALLED_SECONDS}
            and on (namespace, pod, model) gemma_requests_running > 0""",
            "The engine of {{ $labels.namespace }}/{{ $labels.pod }} makes no progress",
            """Requests are running, but the engine finished no step for {{ $value | humanizeDuration }}. The
            liveness probe restarts a hung engine; if this persists, it does not help.""",
        ),
        Alert(
            "GemmaScalingAtMaximum",
            Severity.WARNING,
            "15m",
            f"""gemma:requests_waiting:sum > 0
            and {ON_ENDPOINT} gemma:endpoint_condition:max{{type="ScalingActive", reason="AtMaximum"}} ==
            1""",
            "{{ $labels.namespace }}/{{ $labels.model }} is at its maximum of replicas and requests wait",
            "{{ $value }} requests wait and the autoscaler may add no more pods.",
        ),
        Alert(
            "GemmaScalingInactive",
            Severity.WARNING,
            "15m",
            """gemma:endpoint_condition:max{type="ScalingActive", status="False",
            reason!~"Suspended|Waiting"} == 1""",
            "{{ $labels.namespace }}/{{ $labels.model }} does not scale: {{ $labels.reason }}",
            """The operator asked the metric source of the autoscaler itself and got no usable answer.
            Replicas stay
            as they are, and an endpoint at zero does not wake.""",
        ),
        Alert(
            "GemmaScalingWithoutCapacity",
            Severity.WARNING,
            "15m",
            """max by (namespace, model) (
            gemma:endpoint_condition:max{type="ScalingActive", reason="NoCapacity"}) == 1""",
            "The cluster has no room for the pods that {{ $labels.namespace }}/{{ $labels.model }} scales to",
            """The autoscaler asked for more replicas and the scheduler finds no node for them: the load is
            above
            what the cluster can carry, below what maxReplicas allows.""",
        ),
    ),
)
