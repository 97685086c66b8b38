"""Alerts on accelerators. Those on DCGM metrics are silent where no DCGM exporter runs."""

from gemma_monitoring.rules.model import BY_ENDPOINT, ON_ENDPOINT, Alert, Group, Severity

APPLICATION_XIDS = (13, 31, 43, 45, 68, 109)
"""Errors of the program, not of the GPU: the list that NVIDIA's Kubernetes device plugin does not count as
unhealthy."""
HOT_CELSIUS = 87
"""Data-centre cards slow down between about 85 and 95 (`nvidia-smi -q -d TEMPERATURE` shows a card's own
limit)."""
LOADED_SHARE = 0.5
"""Of the planned weights; a GPU that holds less than half of them does not serve them."""

HARDWARE = Group(
    "gemma.hardware",
    "30s",
    (
        Alert(
            "GemmaCPUFallback",
            Severity.CRITICAL,
            "10m",
            f"""sum {BY_ENDPOINT} (gemma:accelerators:max{{accelerator!~"cpu|.*mig.*"}}) > 0
            and {ON_ENDPOINT} gemma:replicas_ready:max > 0
            and {ON_ENDPOINT} gemma:concurrency_limit:sum
            unless {ON_ENDPOINT} gemma:engine_gpu_memory_used:max_bytes
            > {ON_ENDPOINT} {LOADED_SHARE} * sum {BY_ENDPOINT}
            (gemma:memory_planned_bytes:max{{term="weights"}})""",
            "{{ $labels.namespace }}/{{ $labels.model }} has accelerators and does not use them",
            """Its {{ $value }} accelerators hold less than half of the planned weights while pods are ready:
            the engine
            runs on the CPU, or on the wrong device.""",
        ),
        Alert(
            "GemmaGPUFault",
            Severity.CRITICAL,
            "0m",
            f"""gemma:gpu_xid_error:last > 0 {" ".join(f"!= {xid}" for xid in APPLICATION_XIDS)}
            or gemma:gpu_row_remap_failure:last == 1""",
            "GPU {{ $labels.gpu }} under {{ $labels.namespace }}/{{ $labels.pod }} reports a fault",
            """XID {{ $value }} (1: a broken memory row that could not be remapped). The node needs a reset
            or a repair;
            requests on it may fail or answer nonsense.""",
        ),
        Alert(
            "GemmaGPUHot",
            Severity.WARNING,
            "10m",
            f"gemma:gpu_temperature:celsius > {HOT_CELSIUS}",
            "GPU {{ $labels.gpu }} under {{ $labels.namespace }}/{{ $labels.pod }} is at {{ $value }} °C",
            "It lowers its clocks, so answers get slower; in the end it shuts down.",
        ),
        Alert(
            "GemmaAcceleratorsIdle",
            Severity.INFO,
            "1h",
            f"""sum {BY_ENDPOINT} (gemma:accelerators:max{{accelerator!="cpu"}}) > 0
            and {ON_ENDPOINT} sum {BY_ENDPOINT} (increase(gemma_requests_total[1d])) == 0
            and {ON_ENDPOINT} sum {BY_ENDPOINT} (gemma:replicas_ready:max offset 1d) > 0""",
            "{{ $labels.namespace }}/{{ $labels.model }} holds {{ $value }} accelerators and nobody asks",
            "No request came for a day. Suspend it, or let it scale to zero.",
        ),
    ),
)
