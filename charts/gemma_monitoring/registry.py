"""Every metric that a rule, a panel or `gemma-operator top` may name: who emits it, its type and its labels.

The gateway's and the operator's own code are held against this list by tests/rules/test_registry.py.
Labels that the scrape adds (`namespace`, `pod`, `job`, ...) are in TARGET_LABELS and never listed per metric,
except where the emitter itself speaks about other namespaces than its own.
"""

from dataclasses import dataclass
from enum import StrEnum

TARGET_LABELS = frozenset({"namespace", "pod", "container", "node", "job", "instance"})
"""Added by the scrape objects of the chart (PodMonitor, PodMonitoring) to what a pod says."""

HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")


class Kind(StrEnum):
    """Type of a metric, in the words of the exposition format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Emitter(StrEnum):
    """Whose /metrics page a metric is on."""

    GATEWAY = "gateway"
    OPERATOR = "operator"
    FRONT_DOOR = "front door"
    TRITON = "triton"
    """Appended to the gateway's page, unchanged."""
    DCGM = "dcgm-exporter"
    CADVISOR = "cadvisor"
    """The kubelet's own page about containers."""
    CERT_MANAGER = "cert-manager"
    PROMETHEUS = "prometheus"
    """Made by Prometheus itself at each scrape or rule evaluation."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric family.

    Attributes:
        name: as PromQL names it, `_total` included; of a histogram the family's name.
        kind: its type.
        labels: the labels that the emitter itself sets.
        emitter: whose page it is on.
        help: one sentence.
        needs_gpu: absent without one.
    """

    name: str
    kind: Kind
    labels: frozenset[str]
    emitter: Emitter
    help: str
    needs_gpu: bool = False

    @property
    def series_names(self) -> tuple[str, ...]:
        """The names that PromQL can select."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}{suffix}" for suffix in HISTOGRAM_SUFFIXES)
        return (self.name,)


def _of(
    emitter: Emitter, common: tuple[str, ...], rows: list[tuple[str, Kind, str, str]], needs_gpu: bool = False
) -> list[MetricSpec]:
    return [
        MetricSpec(name, kind, frozenset((*common, *labels.split())), emitter, text, needs_gpu)
        for name, kind, labels, text in rows
    ]


C, G, H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

GATEWAY = _of(
    Emitter.GATEWAY,
    ("model",),
    [
        ("gemma_requests_waiting", G, "", "Sequences in the queue: what scaling follows."),
        ("gemma_requests_running", G, "", "Sequences that hold a slot."),
        ("gemma_concurrency_limit", G, "", "Slots: sequences generated at once."),
        ("gemma_requests_total", C, "outcome", "Requests by outcome (OUTCOMES)."),
        ("gemma_rejections_total", C, "reason", "Requests refused, by reason."),
        ("gemma_time_to_first_token_seconds", H, "", "Arrival to first token."),
        ("gemma_time_per_output_token_seconds", H, "", "Between tokens after the first."),
        ("gemma_request_duration_seconds", H, "", "Arrival to end."),
        ("gemma_queue_seconds", H, "", "Waiting for a slot."),
        ("gemma_prompt_tokens_total", C, "", "Tokens of prompts."),
        ("gemma_generation_tokens_total", C, "", "Tokens generated."),
        ("gemma_cached_prompt_tokens_total", C, "", "Prompt tokens found in the prefix cache."),
        ("gemma_kv_cache_used_tokens", G, "", "Tokens held in the KV cache."),
        ("gemma_kv_cache_total_tokens", G, "", "Tokens that the KV cache can hold."),
        ("gemma_engine_info", G, "engine version precision", "1 for the engine of this replica."),
        ("gemma_engine_last_step_seconds", G, "", "Unix time of the engine's last step; 0 before the first."),
        ("gemma_safety_decisions_total", C, "stage policy decision", "Decisions of the safety filters."),
        (
            "gemma_quality_score",
            H,
            "scorer",
            "Scores of sampled answers, 0 to 1; none while no answer is sampled.",
        ),
        ("gemma_draining", G, "", "1 while this replica is shutting down."),
        ("gemma_limit_store_up", G, "", "1 while the shared store of rate limits answers."),
    ],
)
"""One model per serving pod, so a pod's series count is fixed: label sets above plus histogram bounds."""

OUTCOMES = ("success", "cancelled", "rejected", "invalid", "failed")
"""Values of `outcome`. `cancelled` and `invalid` are the caller's; availability counts neither."""
OVERLOAD_REASONS = ("queue_full", "evicted", "deadline")
"""Values of `reason` that mean too little capacity."""
UNAVAILABLE_REASONS = (*OVERLOAD_REASONS, "limit_store_down")
"""Values of `reason` that are the endpoint's fault; the others are limits and keys of the caller."""
FAILED_OPEN = "failed_open"
"""Value of `decision` where the guard did not answer and the text passed all the same."""

_ENDPOINT = ("namespace", "model")
"""Labels of the operator's series about one GemmaDeployment: its namespace and its name."""

OPERATOR_PROCESS = _of(
    Emitter.OPERATOR,
    (),
    [
        ("gemma_operator_info", G, "version", "1 for the running version."),
        ("gemma_operator_reconcile_seconds", H, "outcome", "Duration of one reconcile; `done`, or a Reason."),
        ("gemma_operator_queue_depth", G, "", "Resources that wait for a worker."),
        ("gemma_operator_queue_oldest_seconds", G, "", "How long the longest waiting resource waits."),
        ("gemma_operator_queue_seconds", H, "", "How long a resource was ready before a worker took it."),
        ("gemma_operator_api_requests_total", C, "verb resource code", "Requests to the Kubernetes API."),
        ("gemma_operator_watch_age_seconds", G, "resource", "Since the last event or bookmark of a watch."),
        ("gemma_operator_startup_seconds", H, "engine", "Pod created to ready, over all endpoints."),
        (
            "gemma_operator_startup_phase_seconds",
            H,
            "engine phase",
            "One phase of a start (Scheduled, Pulled, Weights, Serving), over all endpoints.",
        ),
    ],
)

OPERATOR_ENDPOINT = _of(
    Emitter.OPERATOR,
    _ENDPOINT,
    [
        ("gemma_deployment_info", G, "variant engine accelerator precision", "1 for the plan in force."),
        ("gemma_deployment_condition", G, "type status reason", "1 for each condition as it is now."),
        (
            "gemma_deployment_replicas_desired",
            G,
            "",
            "Pods there should be; 0 when suspended or scaled to zero.",
        ),
        ("gemma_deployment_replicas_ready", G, "", "Pods that take requests."),
        ("gemma_deployment_replicas_minimum", G, "", "minReplicas of spec.scaling."),
        ("gemma_deployment_replicas_maximum", G, "", "maxReplicas of spec.scaling."),
        (
            "gemma_deployment_loading_seconds",
            G,
            "",
            "Age of the oldest pod that was never ready; absent without one.",
        ),
        (
            "gemma_deployment_startup_last_seconds",
            G,
            "",
            "Pod created to ready, of the pod that became ready last.",
        ),
        ("gemma_deployment_startup_predicted_seconds", G, "", "The plan's prediction of the same."),
        (
            "gemma_deployment_memory_planned_bytes",
            G,
            "term",
            "Plan per accelerator: usable, weights, kv_cache, overhead.",
        ),
        (
            "gemma_deployment_accelerators",
            G,
            "accelerator",
            "Accelerators requested: per replica times desired.",
        ),
        ("gemma_deployment_hourly_cost", G, "", "Of all desired replicas, in the price file's currency."),
        ("gemma_deployment_objective", G, "objective", "Target of spec.monitoring.objectives (OBJECTIVES)."),
        (
            "gemma_deployment_template_drift",
            G,
            "",
            "1 when this operator would render other pods than those that run.",
        ),
        ("gemma_deployment_weights_bytes", G, "state", "Bytes of the weights: done, total."),
    ],
)
"""About 25 series per endpoint, a constant: no label's value comes from traffic. Gone when the endpoint
is."""

FRONT_DOOR = _of(
    Emitter.FRONT_DOOR,
    ("endpoint_namespace", "model"),
    [
        (
            "gemma_front_door_requests_waiting",
            G,
            "",
            "Held until a pod comes: what wakes an endpoint at zero.",
        ),
        ("gemma_front_door_requests_running", G, "", "Sent to a pod and not over."),
        ("gemma_front_door_replicas", G, "", "Pods that requests may go to."),
        ("gemma_front_door_requests_total", C, "code", "Requests by HTTP status."),
        ("gemma_front_door_retries_total", C, "", "Requests sent to another replica before the first byte."),
        ("gemma_front_door_wake_seconds", H, "", "How long held requests waited for a pod."),
    ],
)
"""`endpoint_namespace`, since the scrape sets `namespace` to the front door's own."""

OBJECTIVES = ("ttft_p95_seconds", "tpot_p95_seconds", "availability_ratio")
"""Values of `objective`, each in the unit that its name ends in."""

TRITON = _of(
    Emitter.TRITON,
    ("gpu_uuid",),
    [
        ("nv_gpu_memory_used_bytes", G, "", "Memory used on the GPU, by everybody."),
        ("nv_gpu_memory_total_bytes", G, "", "Memory of the GPU."),
        ("nv_gpu_utilization", G, "", "Share of the last interval in which a kernel ran."),
        ("nv_gpu_power_usage", G, "", "Watts."),
    ],
    needs_gpu=True,
)
DCGM = _of(
    Emitter.DCGM,
    ("gpu", "UUID", "modelName", "exported_pod", "exported_namespace"),
    [
        ("DCGM_FI_DEV_GPU_UTIL", G, "", "Percent of time with a kernel running."),
        ("DCGM_FI_DEV_FB_USED", G, "", "Framebuffer used, MiB."),
        ("DCGM_FI_DEV_FB_FREE", G, "", "Framebuffer free, MiB."),
        ("DCGM_FI_DEV_GPU_TEMP", G, "", "Degrees Celsius."),
        ("DCGM_FI_DEV_POWER_USAGE", G, "", "Watts."),
        ("DCGM_FI_DEV_SM_CLOCK", G, "", "MHz."),
        ("DCGM_FI_DEV_XID_ERRORS", G, "", "Number of the last XID error; 0 for none."),
        ("DCGM_FI_DEV_ROW_REMAP_FAILURE", G, "", "1 when a broken memory row could not be remapped."),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", G, "", "Share of cycles in which the tensor cores worked."),
        ("DCGM_FI_PROF_DRAM_ACTIVE", G, "", "Share of cycles in which memory moved data."),
    ],
    needs_gpu=True,
)
EXTERNAL = [
    MetricSpec(
        "certmanager_certificate_expiration_timestamp_seconds",
        G,
        frozenset({"name", "namespace", "exported_namespace"}),
        Emitter.CERT_MANAGER,
        "Unix time at which a certificate ends.",
    ),
    MetricSpec(
        "container_memory_working_set_bytes",
        G,
        frozenset(),
        Emitter.CADVISOR,
        "Host memory of a container that the kernel cannot take back.",
    ),
    MetricSpec(
        "container_cpu_usage_seconds_total", C, frozenset(), Emitter.CADVISOR, "CPU seconds of a container."
    ),
    MetricSpec(
        "container_cpu_cfs_throttled_periods_total",
        C,
        frozenset(),
        Emitter.CADVISOR,
        "Periods a container was throttled in.",
    ),
    MetricSpec("up", G, frozenset(), Emitter.PROMETHEUS, "1 when the last scrape of a target worked."),
    MetricSpec("ALERTS", G, frozenset({"alertname", "alertstate"}), Emitter.PROMETHEUS, "Active alerts."),
]

METRICS: tuple[MetricSpec, ...] = (
    *GATEWAY,
    *OPERATOR_PROCESS,
    *OPERATOR_ENDPOINT,
    *FRONT_DOOR,
    *TRITON,
    *DCGM,
    *EXTERNAL,
)
SERIES: dict[str, MetricSpec] = {name: metric for metric in METRICS for name in metric.series_names}
"""Every selectable name."""
