"""Accelerators, memory, and what they cost."""

from gemma_monitoring.dashboards.model import (
    ENDPOINT,
    GPU,
    NAME,
    NAMESPACE,
    PRICE,
    Board,
    Panel,
    Query,
    Section,
    Shape,
    Unit,
    stat,
)

_GPU = "{{pod}} GPU {{gpu}}"


def _gpu(title: str, description: str, unit: Unit, record: str, threshold: float | None = None) -> Panel:
    return Panel(
        title,
        description,
        unit,
        (Query(f"{record}{{{ENDPOINT}}}", _GPU),),
        needs=GPU,
        threshold=threshold,
    )


def _of_pods(metric: str, window: str = "") -> str:
    """Of serving pods, from their containers, or from the pod where the kubelet does not tell those apart."""

    def selected(container: str) -> str:
        series = f'{metric}{{{NAMESPACE}, pod!="", {container}}}{window}'
        return f"rate({series})" if window else series

    whole = selected('container=""')
    parts = selected('container!~"|POD"')
    by_pod = f"sum by (namespace, pod) ({parts}) or max by (namespace, pod) ({whole})"
    return f"({by_pod}) * on (namespace, pod) group_left (model) gemma:pod:info{{{ENDPOINT}}}"


HARDWARE = Board(
    "gemma-hardware",
    "Gemma / Hardware and cost",
    "Accelerators, what they cost, how well they are used. GPU panels need the DCGM exporter.",
    (
        Section(
            "Cost",
            (
                stat(
                    "Cost per hour",
                    "In the price file's currency.",
                    Unit.MONEY,
                    f"sum(gemma:hourly_cost:max{{{ENDPOINT}}})",
                    6,
                ),
                stat(
                    "Cost per month",
                    "At 730 hours.",
                    Unit.MONEY,
                    f"730 * sum(gemma:hourly_cost:max{{{ENDPOINT}}})",
                    6,
                ),
                stat(
                    "Accelerators",
                    "Requested by all replicas.",
                    Unit.COUNT,
                    f"sum(gemma:accelerators:max{{{ENDPOINT}}})",
                    6,
                ),
                stat(
                    "Per million tokens",
                    "Cost over tokens generated, of all endpoints that generate.",
                    Unit.MONEY,
                    f"""sum(gemma:hourly_cost:max{{{ENDPOINT}}})
                    / (sum(gemma:generation_tokens:rate5m{{{ENDPOINT}}}) * 3600 / 1e6 > 0)""",
                    6,
                ),
                Panel(
                    "Cost per hour",
                    "By endpoint.",
                    Unit.MONEY,
                    (Query(f"gemma:hourly_cost:max{{{ENDPOINT}}}", NAME),),
                    Shape.STACKED,
                    needs=PRICE,
                ),
                Panel(
                    "Cost per million tokens",
                    "Falls with load: an idle accelerator costs as much as a busy one.",
                    Unit.MONEY,
                    (Query(f"gemma:cost_per_million_tokens:rate5m{{{ENDPOINT}}}", NAME),),
                    needs=PRICE,
                ),
                Panel(
                    "Accelerators by type",
                    "Requested.",
                    Unit.COUNT,
                    (
                        Query(
                            f"sum by (accelerator) (gemma:accelerators:max{{{ENDPOINT}}})", "{{accelerator}}"
                        ),
                    ),
                    Shape.STACKED,
                ),
            ),
        ),
        Section(
            "Memory",
            (
                Panel(
                    "Planned memory per accelerator",
                    "Host memory of the engine container on CPU.",
                    Unit.BYTES,
                    (Query(f"gemma:memory_planned_bytes:max{{{ENDPOINT}}}", f"{NAME} {{{{term}}}}"),),
                    width=12,
                ),
                Panel(
                    "GPU memory used against plan",
                    "What Triton sees on the fullest GPU of each endpoint.",
                    Unit.BYTES,
                    (
                        Query(f"gemma:engine_gpu_memory_used:max_bytes{{{ENDPOINT}}}", f"{NAME} used"),
                        Query(
                            f'gemma:memory_planned_bytes:max{{{ENDPOINT}, term="usable"}}', f"{NAME} usable"
                        ),
                    ),
                    width=12,
                    needs=GPU,
                ),
                Panel(
                    "Host memory",
                    "Working set of the serving pods (kubelet).",
                    Unit.BYTES,
                    (Query(_of_pods("container_memory_working_set_bytes"), "{{pod}}"),),
                    width=12,
                ),
                Panel(
                    "CPU used",
                    "Cores that the serving pods keep busy (kubelet).",
                    Unit.COUNT,
                    (Query(_of_pods("container_cpu_usage_seconds_total", "[5m]"), "{{pod}}"),),
                    width=12,
                ),
            ),
        ),
        Section(
            "GPUs",
            (
                _gpu(
                    "GPU utilisation",
                    "Share of time with a kernel running; high even when waiting for memory.",
                    Unit.RATIO,
                    "gemma:gpu_utilization:ratio",
                ),
                _gpu(
                    "Tensor cores",
                    "Share of cycles in which they worked: what prefill is bound by.",
                    Unit.RATIO,
                    "gemma:gpu_tensor_active:ratio",
                ),
                _gpu(
                    "Memory bandwidth",
                    "Share of cycles in which memory moved: what decoding is bound by.",
                    Unit.RATIO,
                    "gemma:gpu_dram_active:ratio",
                ),
                _gpu("GPU memory used", "Framebuffer.", Unit.MEBIBYTES, "gemma:gpu_memory_used:mebibytes"),
                _gpu(
                    "Temperature",
                    "The card slows down above its limit.",
                    Unit.CELSIUS,
                    "gemma:gpu_temperature:celsius",
                    87,
                ),
                _gpu("Power", "Draw of the card.", Unit.WATTS, "gemma:gpu_power:watts"),
                _gpu(
                    "Last XID error",
                    "0 for none; NVIDIA's XID document explains each number.",
                    Unit.COUNT,
                    "gemma:gpu_xid_error:last",
                ),
                Panel(
                    "Tokens per joule",
                    "Tokens generated over power drawn.",
                    Unit.COUNT,
                    (
                        Query(
                            f"""gemma:generation_tokens:rate5m{{{ENDPOINT}}}
                            / on (namespace, model) (sum by (namespace, model)
                            (gemma:gpu_power:watts{{{ENDPOINT}}}) > 0)""",
                            NAME,
                        ),
                    ),
                    needs=GPU,
                ),
            ),
        ),
    ),
)
