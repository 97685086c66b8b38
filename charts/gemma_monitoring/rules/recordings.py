"""Recording rules: what every engine, panel and alert agrees to call it."""

from gemma_monitoring.registry import OVERLOAD_REASONS, UNAVAILABLE_REASONS
from gemma_monitoring.rules.model import BY_ENDPOINT, ON_ENDPOINT, Group, Recording

INTERVAL = "30s"
SLOW_INTERVAL = "1m"
SHORTEST_BUDGET_SECONDS = 600
"""Of a first start, as the startup probe has it: images and weights come over the network, once."""
BURN_WINDOWS = ("5m", "30m", "1h", "6h", "3d")
"""Long and short windows of the multi-window burn alerts (SRE workbook, chapter 5, table 5-8)."""
UNAVAILABLE = f'reason=~"{"|".join(UNAVAILABLE_REASONS)}"'
"""A limit set on a key is not the endpoint's fault; a full queue is."""
OVERLOAD = f'reason=~"{"|".join(OVERLOAD_REASONS)}"'


def _sum_rate(metric: str, window: str = "5m", by: str = BY_ENDPOINT) -> str:
    return f"sum {by} (rate({metric}[{window}]))"


def _judged(window: str, function: str = "rate") -> str:
    """Requests that availability is about. What callers cancel, get wrong or have no right to is theirs."""
    served = f'{function}(gemma_requests_total{{outcome=~"success|failed"}}[{window}])'
    refused = f"{function}(gemma_rejections_total{{{UNAVAILABLE}}}[{window}])"
    return f"sum {BY_ENDPOINT} ({served} or {refused})"


def _unavailable(window: str) -> Recording:
    bad = f"""rate(gemma_requests_total{{outcome="failed"}}[{window}])
    or rate(gemma_rejections_total{{{UNAVAILABLE}}}[{window}])"""
    expr = f"sum {BY_ENDPOINT} ({bad}) / {ON_ENDPOINT} ({_judged(window)} > 0)"
    return Recording(f"gemma:unavailable_requests:ratio_rate{window}", expr)


def _quantile(metric: str, quantile: int) -> Recording:
    buckets = f"sum by (namespace, model, le) (rate(gemma_{metric}_bucket[5m]))"
    return Recording(
        f"gemma:{metric}:p{quantile}_rate5m", f"histogram_quantile({quantile / 100:g}, {buckets})"
    )


def _dcgm(metric: str) -> str:
    """A DCGM metric with the workload's pod and namespace, whichever labels the exporter's scrape gave it."""
    renamed = (
        f'label_replace(label_replace({metric}{{exported_pod!=""}}, "pod", "$1", "exported_pod", "(.+)"), '
        '"namespace", "$1", "exported_namespace", "(.+)")'
    )
    by_pod = f'max by (namespace, pod, gpu) ({renamed} or {metric}{{exported_pod=""}})'
    return f"{by_pod} * on (namespace, pod) group_left (model) gemma:pod:info"


def _endpoint(metric: str, *labels: str, name: str = "") -> Recording:
    """One of the operator's series without the labels of the operator's pod.

    An alert must not start anew, nor its `for`, because the operator moved to another pod.
    """
    by = ", ".join(("namespace", "model", *labels))
    return Recording(f"gemma:{name or metric}:max", f"max by ({by}) (gemma_deployment_{metric})")


ENDPOINTS = Group(
    "gemma.endpoints",
    INTERVAL,
    (
        Recording(
            "gemma:endpoint:info",
            "max by (namespace, model, variant, engine, accelerator, precision) (gemma_deployment_info)",
        ),
        _endpoint("condition", "type", "status", "reason", name="endpoint_condition"),
        _endpoint("replicas_desired"),
        _endpoint("replicas_ready"),
        _endpoint("replicas_minimum"),
        _endpoint("replicas_maximum"),
        _endpoint("loading_seconds"),
        _endpoint("startup_last_seconds"),
        _endpoint("startup_predicted_seconds"),
        _endpoint("memory_planned_bytes", "term"),
        _endpoint("accelerators", "accelerator"),
        _endpoint("hourly_cost"),
        _endpoint("objective", "objective"),
        _endpoint("template_drift"),
        _endpoint("weights_bytes", "state"),
        Recording(
            "gemma:startup_budget:seconds",
            f"""2 * max_over_time(gemma:startup_last_seconds:max[7d])
            or {ON_ENDPOINT} clamp_min(3 * gemma:startup_predicted_seconds:max, {SHORTEST_BUDGET_SECONDS})""",
        ),
    ),
)

TRAFFIC = Group(
    "gemma.traffic",
    INTERVAL,
    (
        Recording(
            "gemma:requests:rate5m", _sum_rate("gemma_requests_total", by="by (namespace, model, outcome)")
        ),
        Recording("gemma:judged_requests:rate5m", _judged("5m")),
        Recording(
            "gemma:rejections:rate5m", _sum_rate("gemma_rejections_total", by="by (namespace, model, reason)")
        ),
        Recording("gemma:prompt_tokens:rate5m", _sum_rate("gemma_prompt_tokens_total")),
        Recording("gemma:generation_tokens:rate5m", _sum_rate("gemma_generation_tokens_total")),
        Recording(
            "gemma:cached_prompt_tokens:ratio_rate5m",
            f"""{_sum_rate("gemma_cached_prompt_tokens_total")} / ({_sum_rate("gemma_prompt_tokens_total")} >
            0)""",
        ),
        Recording(
            "gemma:failed_requests:ratio_rate5m",
            f"""{_sum_rate('gemma_requests_total{outcome="failed"}')}
            / {ON_ENDPOINT} (gemma:judged_requests:rate5m > 0)""",
        ),
        Recording(
            "gemma:overload_rejections:ratio_rate5m",
            f"""{_sum_rate(f"gemma_rejections_total{{{OVERLOAD}}}")}
            / {ON_ENDPOINT} (gemma:judged_requests:rate5m > 0)""",
        ),
    ),
)

LATENCY = Group(
    "gemma.latency",
    INTERVAL,
    (
        *(_quantile("time_to_first_token_seconds", quantile) for quantile in (50, 95, 99)),
        *(_quantile("time_per_output_token_seconds", quantile) for quantile in (50, 95, 99)),
        *(_quantile("request_duration_seconds", quantile) for quantile in (50, 95, 99)),
        _quantile("queue_seconds", 95),
    ),
)

SATURATION = Group(
    "gemma.saturation",
    INTERVAL,
    (
        Recording("gemma:requests_waiting:sum", f"sum {BY_ENDPOINT} (gemma_requests_waiting)"),
        Recording("gemma:requests_running:sum", f"sum {BY_ENDPOINT} (gemma_requests_running)"),
        Recording("gemma:concurrency_limit:sum", f"sum {BY_ENDPOINT} (gemma_concurrency_limit)"),
        Recording(
            "gemma:kv_cache:ratio",
            f"""sum {BY_ENDPOINT} (gemma_kv_cache_used_tokens) / (sum {BY_ENDPOINT}
            (gemma_kv_cache_total_tokens) > 0)""",
        ),
        Recording("gemma:pod:info", "group by (namespace, pod, model) (gemma_concurrency_limit)"),
        Recording(
            "gemma:cost_per_million_tokens:rate5m",
            f"""gemma:hourly_cost:max
            / {ON_ENDPOINT} ((gemma:generation_tokens:rate5m > 0) * 3600 / 1e6)""",
        ),
    ),
)

AVAILABILITY = Group(
    "gemma.availability",
    SLOW_INTERVAL,
    (
        *(_unavailable(window) for window in BURN_WINDOWS),
        Recording(
            "gemma:judged_requests:increase1h",
            _judged("1h", "increase"),
        ),
        Recording(
            "gemma:judged_requests:increase6h",
            _judged("6h", "increase"),
        ),
        Recording(
            "gemma:error_budget:ratio",
            """1 - (gemma:objective:max{objective="availability_ratio"} < 1)""",
        ),
    ),
)

GPU = Group(
    "gemma.gpu",
    INTERVAL,
    (
        Recording("gemma:gpu_utilization:ratio", f"{_dcgm('DCGM_FI_DEV_GPU_UTIL')} / 100"),
        Recording("gemma:gpu_memory_used:mebibytes", _dcgm("DCGM_FI_DEV_FB_USED")),
        Recording("gemma:gpu_memory_free:mebibytes", _dcgm("DCGM_FI_DEV_FB_FREE")),
        Recording("gemma:gpu_temperature:celsius", _dcgm("DCGM_FI_DEV_GPU_TEMP")),
        Recording("gemma:gpu_power:watts", _dcgm("DCGM_FI_DEV_POWER_USAGE")),
        Recording("gemma:gpu_xid_error:last", _dcgm("DCGM_FI_DEV_XID_ERRORS")),
        Recording("gemma:gpu_row_remap_failure:last", _dcgm("DCGM_FI_DEV_ROW_REMAP_FAILURE")),
        Recording("gemma:gpu_tensor_active:ratio", _dcgm("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")),
        Recording("gemma:gpu_dram_active:ratio", _dcgm("DCGM_FI_PROF_DRAM_ACTIVE")),
        Recording(
            "gemma:engine_gpu_memory_used:max_bytes",
            f"""max {BY_ENDPOINT} (
            nv_gpu_memory_used_bytes * on (namespace, pod) group_left (model) gemma:pod:info)""",
        ),
    ),
)

RECORDINGS: tuple[Group, ...] = (ENDPOINTS, TRAFFIC, LATENCY, SATURATION, AVAILABILITY, GPU)
