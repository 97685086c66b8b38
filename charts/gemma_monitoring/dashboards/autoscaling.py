"""Whether replicas follow the load."""

from gemma_monitoring.dashboards.model import (
    ENDPOINT,
    NAME,
    SCALING,
    Board,
    Panel,
    Query,
    Section,
    Shape,
    Unit,
    per_endpoint,
)

AUTOSCALING = Board(
    "gemma-autoscaling",
    "Gemma / Autoscaling",
    "Whether replicas follow the load: the signal, what it asked for, and what came of it.",
    (
        Section(
            "Replicas",
            (
                Panel(
                    "Desired and ready",
                    "The gap is pods that are on their way or do not come.",
                    Unit.COUNT,
                    (
                        Query(f"gemma:replicas_desired:max{{{ENDPOINT}}}", f"{NAME} desired"),
                        Query(f"gemma:replicas_ready:max{{{ENDPOINT}}}", f"{NAME} ready"),
                    ),
                    width=12,
                ),
                Panel(
                    "Scaling",
                    "1 while the operator proves the autoscaler's metric, 0 while it cannot.",
                    Unit.COUNT,
                    (
                        Query(
                            f"""max by (namespace, model, reason) (
                            gemma:endpoint_condition:max{{{ENDPOINT}, type="ScalingActive", status="True"}})
                            or 0 * max by (namespace, model, reason) (
                            gemma:endpoint_condition:max{{{ENDPOINT}, type="ScalingActive"}})""",
                            f"{NAME} {{{{reason}}}}",
                        ),
                    ),
                    Shape.STATES,
                    12,
                    needs=SCALING,
                ),
            ),
        ),
        Section(
            "Bounds",
            (
                Panel(
                    "Replicas and their bounds",
                    "Desired, between minReplicas and maxReplicas. At the maximum, requests wait.",
                    Unit.COUNT,
                    (
                        Query(f"gemma:replicas_minimum:max{{{ENDPOINT}}}", f"{NAME} minimum"),
                        Query(f"gemma:replicas_desired:max{{{ENDPOINT}}}", f"{NAME} desired"),
                        Query(f"gemma:replicas_maximum:max{{{ENDPOINT}}}", f"{NAME} maximum"),
                    ),
                    width=24,
                    needs=SCALING,
                ),
            ),
        ),
        Section(
            "Signals",
            (
                per_endpoint(
                    "Waiting per ready replica",
                    "What WaitingRequests scales on.",
                    Unit.COUNT,
                    f"""gemma:requests_waiting:sum{{{ENDPOINT}}} / on (namespace, model)
                    (gemma:replicas_ready:max > 0)""",
                ),
                per_endpoint(
                    "KV cache in use",
                    "What KVCacheUtilization scales on.",
                    Unit.RATIO,
                    f"gemma:kv_cache:ratio{{{ENDPOINT}}}",
                ),
                per_endpoint(
                    "Time to first token, p95",
                    "What TimeToFirstToken scales on.",
                    Unit.SECONDS,
                    f"gemma:time_to_first_token_seconds:p95_rate5m{{{ENDPOINT}}}",
                ),
                per_endpoint(
                    "Slots in use",
                    "Running sequences over slots. Constantly low: fewer replicas would do.",
                    Unit.RATIO,
                    f"""gemma:requests_running:sum{{{ENDPOINT}}} / (gemma:concurrency_limit:sum{{{ENDPOINT}}}
                    > 0)""",
                ),
                per_endpoint(
                    "Turned away",
                    "Refused for lack of room, per second.",
                    Unit.PER_SECOND,
                    f"sum by (namespace, model, reason) (gemma:rejections:rate5m{{{ENDPOINT}}})",
                    f"{NAME} {{{{reason}}}}",
                ),
                per_endpoint(
                    "Draining replicas",
                    "Scaled down and finishing their streams.",
                    Unit.COUNT,
                    f"sum by (namespace, model) (gemma_draining{{{ENDPOINT}}})",
                ),
            ),
        ),
        Section(
            "Starting",
            (
                Panel(
                    "Loading",
                    "Age of the oldest pod that is not ready yet, and what is usual at most.",
                    Unit.SECONDS,
                    (
                        Query(f"gemma:loading_seconds:max{{{ENDPOINT}}}", f"{NAME} now"),
                        Query(f"gemma:startup_budget:seconds{{{ENDPOINT}}}", f"{NAME} budget"),
                    ),
                    width=12,
                ),
                Panel(
                    "Last start",
                    "Pod created to ready, and the plan's prediction.",
                    Unit.SECONDS,
                    (
                        Query(f"gemma:startup_last_seconds:max{{{ENDPOINT}}}", f"{NAME} measured"),
                        Query(f"gemma:startup_predicted_seconds:max{{{ENDPOINT}}}", f"{NAME} predicted"),
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)
