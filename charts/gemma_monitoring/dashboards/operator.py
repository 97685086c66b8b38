"""The operator itself."""

from gemma_monitoring.dashboards.model import NAME, NAMESPACE, Board, Panel, Query, Section, Shape, Unit, stat

OPERATOR = Board(
    "gemma-operator",
    "Gemma / Operator",
    "Whether the operator hears, keeps up and gets its writes through.",
    (
        Section(
            "Now",
            (
                stat("Operators", "Running.", Unit.COUNT, "count(gemma_operator_info)"),
                stat(
                    "Queue",
                    "Resources that wait for a worker.",
                    Unit.COUNT,
                    "sum(gemma_operator_queue_depth)",
                ),
                stat(
                    "Oldest in queue",
                    "How long it waits.",
                    Unit.SECONDS,
                    "max(gemma_operator_queue_oldest_seconds)",
                ),
                stat(
                    "Oldest watch",
                    "Since the last event or bookmark.",
                    Unit.SECONDS,
                    "max(gemma_operator_watch_age_seconds)",
                ),
                stat(
                    "Refused specs",
                    "Endpoints whose spec cannot be served as written.",
                    Unit.COUNT,
                    'sum(gemma:endpoint_condition:max{type="Planned", status="False"}) or vector(0)',
                ),
                stat(
                    "Pods of an older operator",
                    "Left alone because upgradePolicy is Manual.",
                    Unit.COUNT,
                    "sum(gemma:template_drift:max) or vector(0)",
                ),
            ),
        ),
        Section(
            "Reconciling",
            (
                Panel(
                    "Reconciles by outcome",
                    "Everything but done is tried again.",
                    Unit.PER_SECOND,
                    (
                        Query(
                            "sum by (outcome) (rate(gemma_operator_reconcile_seconds_count[5m]))",
                            "{{outcome}}",
                        ),
                    ),
                    Shape.STACKED,
                ),
                Panel(
                    "Duration of a reconcile",
                    "Of one resource.",
                    Unit.SECONDS,
                    tuple(
                        Query(
                            f"""histogram_quantile({q}, sum by (le)
                            (rate(gemma_operator_reconcile_seconds_bucket[5m])))""",
                            f"p{q * 100:g}",
                        )
                        for q in (0.5, 0.95, 0.99)
                    ),
                ),
                Panel(
                    "Waiting for a worker",
                    "From event to worker.",
                    Unit.SECONDS,
                    tuple(
                        Query(
                            f"""histogram_quantile({q}, sum by (le)
                            (rate(gemma_operator_queue_seconds_bucket[5m])))""",
                            f"p{q * 100:g}",
                        )
                        for q in (0.5, 0.95, 0.99)
                    ),
                ),
            ),
        ),
        Section(
            "Kubernetes API",
            (
                Panel(
                    "Requests",
                    "Steady state is no request at all.",
                    Unit.PER_SECOND,
                    (
                        Query(
                            "sum by (verb, resource) (rate(gemma_operator_api_requests_total[5m]))",
                            "{{verb}} {{resource}}",
                        ),
                    ),
                    Shape.STACKED,
                ),
                Panel(
                    "Answers by code",
                    "403: a permission is missing. 409: another writer. 429: throttled. 0: no answer.",
                    Unit.PER_SECOND,
                    (Query("sum by (code) (rate(gemma_operator_api_requests_total[5m]))", "{{code}}"),),
                    Shape.STACKED,
                ),
                Panel(
                    "Watch age",
                    "Since the last event or bookmark; above five minutes the operator is deaf.",
                    Unit.SECONDS,
                    (Query("max by (resource) (gemma_operator_watch_age_seconds)", "{{resource}}"),),
                    threshold=300,
                ),
            ),
        ),
        Section(
            "Endpoints",
            (
                Panel(
                    "Conditions that are not True",
                    "By reason.",
                    Unit.COUNT,
                    (
                        Query(
                            f"""sum by (type, reason) (gemma:endpoint_condition:max{{{NAMESPACE},
                            status!="True"}}) or vector(0)""",
                            "{{type}} {{reason}}",
                        ),
                    ),
                    Shape.STACKED,
                    12,
                ),
                Panel(
                    "Starts",
                    "Pod created to ready, by engine, over a day.",
                    Unit.SECONDS,
                    (
                        Query(
                            """histogram_quantile(0.95, sum by (le, engine)
                            (increase(gemma_operator_startup_seconds_bucket[1d])))""",
                            "{{engine}} p95",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Phases of a start",
                    "Mean over a day: until there is a node, images, weights, and a loaded model.",
                    Unit.SECONDS,
                    (
                        Query(
                            """sum by (engine, phase) (increase(gemma_operator_startup_phase_seconds_sum[1d]))
                            / (sum by (engine, phase)
                            (increase(gemma_operator_startup_phase_seconds_count[1d])) > 0)""",
                            "{{engine}} {{phase}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Weights being fetched",
                    "Bytes done of all.",
                    Unit.RATIO,
                    (
                        Query(
                            f"""gemma:weights_bytes:max{{{NAMESPACE}, state="done"}}
                            / on (namespace, model) (gemma:weights_bytes:max{{{NAMESPACE}, state="total"}} >
                            0)""",
                            NAME,
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
    ),
    per_endpoint=False,
)
