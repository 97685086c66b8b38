"""Alerts on the objectives that a team set in spec.monitoring.objectives; silent where none is set."""

from gemma_monitoring.rules.model import ON_ENDPOINT, Alert, Group, Severity

MINIMUM_REQUESTS_BURN = 50
"""Below this many in the long window one failure would count for percents: no page."""
MINIMUM_REQUESTS_LATENCY = 20
"""In five minutes; fewer give no meaningful 95th percentile."""


def _burn(factor: float, long: str, short: str, requests_window: str) -> str:
    """Both windows burn the budget `factor` times faster than it may be spent (SRE workbook, table 5-8)."""
    over = " and ".join(
        f"""gemma:unavailable_requests:ratio_rate{window}
        > {ON_ENDPOINT} ({factor:g} * gemma:error_budget:ratio)"""
        for window in (long, short)
    )
    enough = f"gemma:judged_requests:increase{requests_window} >= {MINIMUM_REQUESTS_BURN}"
    return f"({over} and {ON_ENDPOINT} {enough})"


def _over(metric: str, objective: str) -> str:
    return f"""gemma:{metric}:p95_rate5m
    > {ON_ENDPOINT} gemma:objective:max{{objective="{objective}"}}
    and {ON_ENDPOINT} gemma:judged_requests:rate5m * 300 >= {MINIMUM_REQUESTS_LATENCY}"""


OBJECTIVES = Group(
    "gemma.objectives",
    "1m",
    (
        Alert(
            "GemmaAvailabilityBurnFast",
            Severity.CRITICAL,
            "2m",
            f"{_burn(14.4, '1h', '5m', '1h')} or {_burn(6, '6h', '30m', '6h')}",
            "{{ $labels.namespace }}/{{ $labels.model }} burns its availability budget fast",
            """{{ $value | humanizePercentage }} of requests failed or were turned away for lack of room. At
            this
            pace the month's error budget is gone within days (2 % of it per hour, or 5 % per 6 hours).""",
        ),
        Alert(
            "GemmaAvailabilityBurnSlow",
            Severity.WARNING,
            "15m",
            _burn(1, "3d", "6h", "6h"),
            "{{ $labels.namespace }}/{{ $labels.model }} will miss its availability objective",
            """{{ $value | humanizePercentage }} of requests failed or were turned away over three days: more
            than
            the objective allows.""",
        ),
        Alert(
            "GemmaTimeToFirstTokenOverObjective",
            Severity.WARNING,
            "10m",
            _over("time_to_first_token_seconds", "ttft_p95_seconds"),
            "{{ $labels.namespace }}/{{ $labels.model }} is slow to start answering",
            """The 95th percentile of time to first token is {{ $value | humanizeDuration }}, above the
            objective.""",
        ),
        Alert(
            "GemmaTimePerOutputTokenOverObjective",
            Severity.WARNING,
            "10m",
            _over("time_per_output_token_seconds", "tpot_p95_seconds"),
            "{{ $labels.namespace }}/{{ $labels.model }} generates slower than its objective",
            """The 95th percentile of time per output token is {{ $value | humanizeDuration }}, above the
            objective.""",
        ),
    ),
)
