"""One row per endpoint, as `gemma-operator top` shows it: from a Prometheus, or from the gateways."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from gemma_operator.cli.exposition import Page, increase, quantile
from gemma_operator.cli.prometheus import Labels, Prometheus

TTFT_QUANTILE = 0.95

Endpoint = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class FleetRow:
    """An endpoint now. None: not known from this source, or nothing happened that would tell."""

    namespace: str
    name: str
    ready: int | None = None
    desired: int | None = None
    requests_per_second: float | None = None
    failed_ratio: float | None = None
    ttft_p95_seconds: float | None = None
    tokens_per_second: float | None = None
    running: int | None = None
    slots: int | None = None
    waiting: int | None = None
    kv_cache_ratio: float | None = None
    hourly_cost: float | None = None

    def plain(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)


def queries(namespace: str | None, window_seconds: int) -> dict[str, str]:
    """Field of FleetRow to PromQL. They need no recording rules."""
    chosen = "" if namespace is None else f'namespace="{namespace}"'
    window = f"[{window_seconds}s]"
    rate = f"{{{chosen}}}{window}"
    failed = f'{{{chosen}{"," if chosen else ""}outcome="failed"}}{window}'

    def total(metric: str) -> str:
        return f"sum by (namespace, model) ({metric}{{{chosen}}})"

    def latest(metric: str) -> str:
        return f"max by (namespace, model) ({metric}{{{chosen}}})"

    requests = f"sum by (namespace, model) (rate(gemma_requests_total{rate}))"
    buckets = f"sum by (namespace, model, le) (rate(gemma_time_to_first_token_seconds_bucket{rate}))"
    room = total("gemma_kv_cache_total_tokens")
    return {
        "ready": latest("gemma_deployment_replicas_ready"),
        "desired": latest("gemma_deployment_replicas_desired"),
        "requests_per_second": requests,
        "failed_ratio": f"sum by (namespace, model) (rate(gemma_requests_total{failed})) / ({requests} > 0)",
        "ttft_p95_seconds": f"histogram_quantile({TTFT_QUANTILE}, {buckets})",
        "tokens_per_second": f"sum by (namespace, model) (rate(gemma_generation_tokens_total{rate}))",
        "running": total("gemma_requests_running"),
        "slots": total("gemma_concurrency_limit"),
        "waiting": total("gemma_requests_waiting"),
        "kv_cache_ratio": f"{total('gemma_kv_cache_used_tokens')} / ({room} > 0)",
        "hourly_cost": latest("gemma_deployment_hourly_cost"),
    }


WHOLE = {"ready", "desired", "running", "slots", "waiting"}
"""Fields that count things."""


def rows_from(prometheus: Prometheus, namespace: str | None, window_seconds: int) -> list[FleetRow]:
    """Ask for every field; an endpoint that any query knows has a row. Raises InputError."""
    fields: dict[Endpoint, dict[str, float]] = defaultdict(dict)
    for field, expr in queries(namespace, window_seconds).items():
        for labels, value in prometheus.instant(expr).items():
            fields[endpoint_of(labels)][field] = value
    return [
        FleetRow(space, name, **{key: int(v) if key in WHOLE else v for key, v in known.items()})  # type: ignore[arg-type]
        for (space, name), known in sorted(fields.items())
    ]


def endpoint_of(labels: Labels) -> Endpoint:
    """Namespace and name of a series."""
    named = dict(labels)
    return named.get("namespace", ""), named.get("model", "")


def rows_between(before: Sequence[Page], after: Sequence[Page], seconds: float) -> list[FleetRow]:
    """Rows of the endpoints whose replicas' pages were read twice, `seconds` apart."""
    replicas: Mapping[str, list[int]] = defaultdict(list)
    for index, page in enumerate(after):
        replicas[page.model].append(index)
    return [
        _row(model, [before[i] for i in indexes], [after[i] for i in indexes], seconds)
        for model, indexes in sorted(replicas.items())
    ]


def _row(model: str, before: Sequence[Page], after: Sequence[Page], seconds: float) -> FleetRow:
    def grown(name: str) -> float:
        return sum(increase(old, new, name) for old, new in zip(before, after, strict=True))

    def now(name: str) -> float:
        return sum(page.total(name) for page in after)

    held, room = now("gemma_kv_cache_used_tokens"), now("gemma_kv_cache_total_tokens")
    return FleetRow(
        namespace="",
        name=model,
        requests_per_second=grown("gemma_requests_total") / seconds,
        ttft_p95_seconds=quantile(before, after, "gemma_time_to_first_token_seconds", TTFT_QUANTILE),
        tokens_per_second=grown("gemma_generation_tokens_total") / seconds,
        running=int(now("gemma_requests_running")),
        slots=int(now("gemma_concurrency_limit")),
        waiting=int(now("gemma_requests_waiting")),
        kv_cache_ratio=held / room if room else None,
    )
