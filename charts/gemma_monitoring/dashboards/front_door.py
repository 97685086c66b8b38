"""What goes through the front door, what it holds, and what it meets behind it."""

from gemma_monitoring.dashboards.model import (
    ENDPOINT,
    FRONT_DOOR,
    NAME,
    Board,
    Panel,
    Query,
    Section,
    Shape,
    Unit,
)


def _panel(title: str, description: str, unit: Unit, expr: str, legend: str = NAME) -> Panel:
    return Panel(title, description, unit, (Query(expr, legend),), needs=FRONT_DOOR)


FRONT_DOORS = Board(
    "gemma-front-door",
    "Gemma / Front door",
    "One endpoint for the fleet: what goes through it, what waits for a pod, and how its pods answer.",
    (
        Section(
            "Traffic",
            (
                Panel(
                    "Requests by status",
                    "As callers got them.",
                    Unit.PER_SECOND,
                    (
                        Query(
                            f"sum by (code) (gemma:front_door_requests:rate5m{{{ENDPOINT}}})",
                            "{{code}}",
                        ),
                    ),
                    Shape.STACKED,
                    needs=FRONT_DOOR,
                ),
                _panel(
                    "Requests by endpoint",
                    "Shares of a canary show here.",
                    Unit.PER_SECOND,
                    f"sum by (namespace, model) (gemma:front_door_requests:rate5m{{{ENDPOINT}}})",
                ),
                _panel(
                    "Failed",
                    "Share that ended with a 5xx.",
                    Unit.RATIO,
                    f"""(sum by (namespace, model)
                    (gemma:front_door_requests:rate5m{{{ENDPOINT}, code=~"5.."}})
                    or 0 * sum by (namespace, model) (gemma:front_door_requests:rate5m{{{ENDPOINT}}}))
                    / on (namespace, model) (sum by (namespace, model)
                    (gemma:front_door_requests:rate5m{{{ENDPOINT}}}) > 0)""",
                ),
            ),
        ),
        Section(
            "Waiting",
            (
                _panel(
                    "Held",
                    "Requests that wait for a first pod: what wakes an endpoint at zero.",
                    Unit.COUNT,
                    f"gemma:front_door_requests_waiting:sum{{{ENDPOINT}}}",
                ),
                _panel(
                    "Time to wake, p90",
                    "How long held requests waited, over the last hour.",
                    Unit.SECONDS,
                    f"gemma:front_door_wake_seconds:p90_rate1h{{{ENDPOINT}}}",
                ),
                _panel(
                    "Under way",
                    "Sent to a pod and not over.",
                    Unit.COUNT,
                    f"gemma:front_door_requests_running:sum{{{ENDPOINT}}}",
                ),
            ),
        ),
        Section(
            "Pods behind it",
            (
                Panel(
                    "Replicas known and ready",
                    "What the front door sees, beside what the operator counts.",
                    Unit.COUNT,
                    (
                        Query(f"gemma:front_door_replicas:min{{{ENDPOINT}}}", f"{NAME} known"),
                        Query(f"gemma:replicas_ready:max{{{ENDPOINT}}}", f"{NAME} ready"),
                    ),
                    width=12,
                    needs=FRONT_DOOR,
                ),
                Panel(
                    "Asked again elsewhere",
                    "Retries before the first byte.",
                    Unit.PER_SECOND,
                    (Query(f"gemma:front_door_retries:rate5m{{{ENDPOINT}}}", NAME),),
                    width=12,
                    needs=FRONT_DOOR,
                ),
            ),
        ),
    ),
)
