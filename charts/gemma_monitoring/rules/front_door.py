"""What the front door sees of each endpoint, and alerts on it; nothing where it is not installed."""

from gemma_monitoring.rules.model import ON_ENDPOINT, Alert, Group, Recording, Severity

INTERVAL = "30s"
MINIMUM_REQUESTS = 20
"""In five minutes; below that a ratio says nothing."""
FAILED_RATIO = 0.05
RETRIED_RATIO = 0.10
"""A pod that is replaced costs a retry for each request that was just on its way there, seldom one in ten."""
WAKE_SECONDS = 300
"""Half of the ten minutes that OpenAI's clients wait by default (openai-python 2, DEFAULT_TIMEOUT)."""
_BUSY = f"""and {ON_ENDPOINT} sum by (namespace, model) (gemma:front_door_requests:rate5m) * 300
>= {MINIMUM_REQUESTS}"""


def _by_endpoint(expr: str) -> str:
    """With the endpoint's namespace in place of the front door's own."""
    return f'label_replace({expr}, "namespace", "$1", "endpoint_namespace", "(.+)")'


def _recorded(name: str, function: str, expr: str, *labels: str) -> Recording:
    by = ", ".join(("namespace", "model", *labels))
    return Recording(f"gemma:front_door_{name}", f"{function} by ({by}) ({_by_endpoint(expr)})")


FRONT_DOOR_RECORDINGS = Group(
    "gemma.front_door_recordings",
    INTERVAL,
    (
        _recorded("requests_waiting:sum", "sum", "gemma_front_door_requests_waiting"),
        _recorded("requests_running:sum", "sum", "gemma_front_door_requests_running"),
        _recorded("replicas:min", "min", "gemma_front_door_replicas"),
        _recorded("requests:rate5m", "sum", "rate(gemma_front_door_requests_total[5m])", "code"),
        _recorded("retries:rate5m", "sum", "rate(gemma_front_door_retries_total[5m])"),
        Recording(
            "gemma:front_door_wake_seconds:p90_rate1h",
            f"""histogram_quantile(0.9, sum by (namespace, model, le)
            ({_by_endpoint("rate(gemma_front_door_wake_seconds_bucket[1h])")}))""",
        ),
    ),
)

FRONT_DOOR = Group(
    "gemma.front_door",
    INTERVAL,
    (
        Alert(
            "GemmaFrontDoorHolding",
            Severity.WARNING,
            "10m",
            "gemma:front_door_requests_waiting:sum > 0",
            "{{ $value }} requests wait for a pod of {{ $labels.namespace }}/{{ $labels.model }}",
            """For ten minutes the front door has held requests for an endpoint without a pod that takes them.
            They are refused at holdSeconds, and most callers give up before.""",
        ),
        Alert(
            "GemmaFrontDoorNoReplica",
            Severity.CRITICAL,
            "3m",
            f"""gemma:front_door_replicas:min == 0
            and {ON_ENDPOINT} gemma:replicas_ready:max > 0""",
            "The front door knows no pod of {{ $labels.namespace }}/{{ $labels.model }}",
            """The endpoint has ready pods and a pod of the front door sees none of them: what comes through
            it waits.""",
        ),
        Alert(
            "GemmaFrontDoorFailing",
            Severity.CRITICAL,
            "5m",
            f"""sum by (namespace, model) (gemma:front_door_requests:rate5m{{code=~"5.."}})
            / {ON_ENDPOINT} sum by (namespace, model) (gemma:front_door_requests:rate5m) > {FAILED_RATIO}
            {_BUSY}""",
            """{{ $value | humanizePercentage }} of the requests for {{ $labels.namespace }}/{{ $labels.model
            }} fail at the front door""",
            """They end with a 5xx: no pod answered, none came in time, or the pods said so themselves.""",
        ),
        Alert(
            "GemmaFrontDoorRetries",
            Severity.WARNING,
            "10m",
            f"""gemma:front_door_retries:rate5m
            / {ON_ENDPOINT} sum by (namespace, model) (gemma:front_door_requests:rate5m) > {RETRIED_RATIO}
            {_BUSY}""",
            """The front door asks twice for {{ $value | humanizePercentage }} of {{ $labels.namespace }}/{{
            $labels.model }}""",
            """Pods refuse connections, break off, drain or have no room, so that requests go to another one.
            Callers wait longer, and fail once no pod is left.""",
        ),
        Alert(
            "GemmaFrontDoorWakeSlow",
            Severity.WARNING,
            "0m",
            f"gemma:front_door_wake_seconds:p90_rate1h > {WAKE_SECONDS}",
            "{{ $labels.namespace }}/{{ $labels.model }} takes {{ $value | humanizeDuration }} to wake",
            """Within the last hour one in ten requests that met no pod waited longer than that. Callers with
            a shorter time limit have given up.""",
        ),
    ),
)
