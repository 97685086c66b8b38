"""The door: admission and safety."""

from gemma_monitoring.dashboards.model import (
    ENDPOINT,
    NAME,
    SAFETY,
    Board,
    Panel,
    Query,
    Section,
    Shape,
    Unit,
)

GATEWAY = Board(
    "gemma-gateway",
    "Gemma / Gateway and safety",
    "The door: who is let in, who is turned away, what the filters decide.",
    (
        Section(
            "Admission",
            (
                Panel(
                    "Outcomes",
                    "Share of requests.",
                    Unit.RATIO,
                    (
                        Query(
                            f"""sum by (outcome) (gemma:requests:rate5m{{{ENDPOINT}}})
                            / on () group_left () (sum(gemma:requests:rate5m{{{ENDPOINT}}}) > 0)""",
                            "{{outcome}}",
                        ),
                    ),
                    Shape.STACKED,
                ),
                Panel(
                    "Refused by reason",
                    """queue_full, evicted, deadline and draining are lack of room; the rest are limits of a
                    key.""",
                    Unit.PER_SECOND,
                    (Query(f"sum by (reason) (gemma:rejections:rate5m{{{ENDPOINT}}})", "{{reason}}"),),
                    Shape.STACKED,
                ),
                Panel(
                    "Waiting for a slot, p95",
                    "By endpoint.",
                    Unit.SECONDS,
                    (Query(f"gemma:queue_seconds:p95_rate5m{{{ENDPOINT}}}", NAME),),
                ),
            ),
        ),
        Section(
            "Safety",
            (
                Panel(
                    "Decisions",
                    "Of the filters, by stage.",
                    Unit.PER_SECOND,
                    (
                        Query(
                            f"""sum by (stage, decision)
                            (rate(gemma_safety_decisions_total{{{ENDPOINT}}}[5m]))""",
                            "{{stage}} {{decision}}",
                        ),
                    ),
                    Shape.STACKED,
                    12,
                    needs=SAFETY,
                ),
                Panel(
                    "Blocked by policy",
                    "Texts that a policy kept out or back.",
                    Unit.PER_SECOND,
                    (
                        Query(
                            f"""sum by (policy) (rate(gemma_safety_decisions_total{{{ENDPOINT},
                            decision="block"}}[5m]))""",
                            "{{policy}}",
                        ),
                    ),
                    Shape.STACKED,
                    12,
                    needs=SAFETY,
                ),
            ),
        ),
        Section(
            "Health",
            (
                Panel(
                    "Limit store",
                    "1 while the replica reaches it.",
                    Unit.COUNT,
                    (Query(f"gemma_limit_store_up{{{ENDPOINT}}}", "{{pod}}"),),
                    Shape.STATES,
                ),
                Panel(
                    "Engines",
                    "Replicas by engine version and precision.",
                    Unit.COUNT,
                    (
                        Query(
                            f"count by (engine, version, precision) (gemma_engine_info{{{ENDPOINT}}})",
                            "{{engine}} {{version}} {{precision}}",
                        ),
                    ),
                    Shape.STACKED,
                ),
                Panel(
                    "Scraped",
                    "Serving pods whose /metrics answered the last scrape, of all that have answered.",
                    Unit.COUNT,
                    (
                        Query(
                            f"""sum by (namespace, model) (up * on (namespace, pod) group_left (model)
                            gemma:pod:info{{{ENDPOINT}}})""",
                            NAME,
                        ),
                    ),
                ),
            ),
        ),
    ),
)
