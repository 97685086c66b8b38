"""All endpoints side by side."""

from gemma_monitoring.dashboards.model import (
    ENDPOINT,
    NAME,
    NAMESPACE,
    Board,
    Panel,
    Query,
    Section,
    Shape,
    Unit,
    stat,
)


def _by_endpoint(
    title: str, description: str, unit: Unit, record: str, threshold: float | None = None
) -> Panel:
    query = Query(f"{record}{{{ENDPOINT}}}", NAME)
    return Panel(title, description, unit, (query,), threshold=threshold)


def _column(expr: str, name: str, unit: Unit = Unit.COUNT) -> Query:
    return Query(f"sum by (namespace, model) ({expr})", name, unit)


FLEET = Board(
    "gemma-fleet",
    "Gemma / Fleet",
    "All endpoints side by side: who is up, who is busy, who is slow, what it costs.",
    (
        Section(
            "Now",
            (
                stat(
                    "Endpoints",
                    "GemmaDeployments with a plan.",
                    Unit.COUNT,
                    f"count(gemma:endpoint:info{{{ENDPOINT}}})",
                ),
                stat(
                    "Answering nobody",
                    "Endpoints that want replicas and have none ready.",
                    Unit.COUNT,
                    f"""count(gemma:replicas_desired:max{{{ENDPOINT}}} > 0
                    and gemma:replicas_ready:max{{{ENDPOINT}}} == 0) or vector(0)""",
                ),
                stat(
                    "Ready replicas",
                    "Pods that take requests.",
                    Unit.COUNT,
                    f"sum(gemma:replicas_ready:max{{{ENDPOINT}}})",
                ),
                stat(
                    "Requests",
                    "Of any outcome.",
                    Unit.PER_SECOND,
                    f"sum(gemma:requests:rate5m{{{ENDPOINT}}})",
                ),
                stat(
                    "Tokens",
                    "Generated.",
                    Unit.PER_SECOND,
                    f"sum(gemma:generation_tokens:rate5m{{{ENDPOINT}}})",
                ),
                stat(
                    "Cost per hour",
                    "In the price file's currency.",
                    Unit.MONEY,
                    f"sum(gemma:hourly_cost:max{{{ENDPOINT}}})",
                ),
            ),
        ),
        Section(
            "Endpoints",
            (
                Panel(
                    "Endpoints",
                    "One row per endpoint; click its name for its own dashboard.",
                    Unit.COUNT,
                    (
                        Query(
                            f"""max by (namespace, model, variant, engine, accelerator, precision)
                            (gemma:endpoint:info{{{ENDPOINT}}})""",
                            "info",
                        ),
                        _column(f"gemma:replicas_desired:max{{{ENDPOINT}}}", "desired"),
                        _column(f"gemma:replicas_ready:max{{{ENDPOINT}}}", "ready"),
                        _column(f"gemma:requests:rate5m{{{ENDPOINT}}}", "requests", Unit.PER_SECOND),
                        _column(
                            f"gemma:time_to_first_token_seconds:p95_rate5m{{{ENDPOINT}}}",
                            "TTFT p95",
                            Unit.SECONDS,
                        ),
                        _column(f"gemma:generation_tokens:rate5m{{{ENDPOINT}}}", "tokens", Unit.PER_SECOND),
                        _column(f"gemma:requests_waiting:sum{{{ENDPOINT}}}", "waiting"),
                        _column(f"gemma:kv_cache:ratio{{{ENDPOINT}}}", "KV cache", Unit.RATIO),
                        _column(f"gemma:failed_requests:ratio_rate5m{{{ENDPOINT}}}", "failed", Unit.RATIO),
                        _column(f"gemma:hourly_cost:max{{{ENDPOINT}}}", "cost per hour", Unit.MONEY),
                    ),
                    Shape.TABLE,
                    24,
                    9,
                ),
            ),
        ),
        Section(
            "Side by side",
            (
                Panel(
                    "Requests",
                    "Of any outcome.",
                    Unit.PER_SECOND,
                    (Query(f"sum by (namespace, model) (gemma:requests:rate5m{{{ENDPOINT}}})", NAME),),
                    Shape.STACKED,
                ),
                _by_endpoint(
                    "Time to first token, p95",
                    "Queueing included.",
                    Unit.SECONDS,
                    "gemma:time_to_first_token_seconds:p95_rate5m",
                ),
                _by_endpoint(
                    "Tokens generated",
                    "Over all replicas.",
                    Unit.PER_SECOND,
                    "gemma:generation_tokens:rate5m",
                ),
                _by_endpoint(
                    "Waiting requests",
                    "In the queues of all replicas.",
                    Unit.COUNT,
                    "gemma:requests_waiting:sum",
                ),
                _by_endpoint(
                    "KV cache in use",
                    "Share of tokens held.",
                    Unit.RATIO,
                    "gemma:kv_cache:ratio",
                    threshold=0.95,
                ),
                _by_endpoint(
                    "Failed requests",
                    "Share that ended in a server error.",
                    Unit.RATIO,
                    "gemma:failed_requests:ratio_rate5m",
                ),
            ),
        ),
        Section(
            "State",
            (
                Panel(
                    "Ready",
                    "The roll-up condition of each endpoint: 1 True, 0 not.",
                    Unit.COUNT,
                    (
                        Query(
                            f"""max by (namespace, model) (gemma:endpoint_condition:max{{{ENDPOINT},
                            type="Ready", status="True"}})
                            or 0 * max by (namespace, model) (gemma:endpoint_condition:max{{{ENDPOINT},
                            type="Ready"}})""",
                            NAME,
                        ),
                    ),
                    Shape.STATES,
                    12,
                ),
                Panel(
                    "Alerts",
                    "Firing now, by name.",
                    Unit.COUNT,
                    (
                        Query(
                            f"""sum by (alertname) (
                            ALERTS{{component="gemma", alertstate="firing", {NAMESPACE}}}) or vector(0)""",
                            "{{alertname}}",
                        ),
                    ),
                    Shape.STACKED,
                    12,
                ),
            ),
        ),
    ),
)
