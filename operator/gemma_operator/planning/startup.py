"""Time from container start to the first token, by phase, from bytes and bandwidth."""

from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.rows import Architecture
from gemma_operator.planning.plan import StartupPhase

FETCH_BYTES_PER_SECOND = 150e6
"""From the hub or a mirror; peers' evidence, until a cluster's own rate is known."""
DISK_BYTES_PER_SECOND = 1.0e9
"""From a node's SSD or a claim into accelerator memory."""
CPU_DISK_BYTES_PER_SECOND = 0.5e9
CPU_START_SECONDS = 1.6
"""tritonserver, stub and llama.cpp; measured with 253 MB of weights."""
GPU_START_SECONDS = {EngineName.VLLM: 30.0, EngineName.TENSORRT_LLM: 45.0}
"""Imports, CUDA context, processes: vLLM's imports and tokenizer take 15-25 s; TensorRT-LLM's are longer."""
COMPILE_SECONDS_PER_LAYER = 0.7
"""torch.compile of a cold cache: 40 s for 62 layers (vLLM start-up logs)."""
CAPTURE_SECONDS = 10.0
"""CUDA graph capture and the first real generation."""


def startup_phases(
    engine: EngineName, architecture: Architecture, file_bytes: int, fetched_bytes: int, ranks: int
) -> tuple[StartupPhase, ...]:
    """Phases in order. Weights already on the node are not fetched: `fetched_bytes` is 0 then."""
    phases: list[StartupPhase] = []
    if fetched_bytes:
        seconds = fetched_bytes / FETCH_BYTES_PER_SECOND
        phases.append(StartupPhase("fetch", round(seconds, 1), f"{fetched_bytes / 1e9:.2f} GB at 150 MB/s"))
    if engine is EngineName.LLAMA_CPP:
        seconds = file_bytes / CPU_DISK_BYTES_PER_SECOND
        return (
            *phases,
            StartupPhase("start", CPU_START_SECONDS, "constant; measured"),
            StartupPhase("load", round(seconds, 1), f"{file_bytes / 1e9:.2f} GB at 500 MB/s"),
        )
    seconds = file_bytes / DISK_BYTES_PER_SECOND
    compile_seconds = architecture.layers * COMPILE_SECONDS_PER_LAYER
    return (
        *phases,
        StartupPhase(
            "start", GPU_START_SECONDS[engine] + 2.0 * (ranks - 1), "constant, and 2 s per further rank"
        ),
        StartupPhase("load", round(seconds, 1), f"{file_bytes / 1e9:.2f} GB at 1 GB/s"),
        StartupPhase(
            "compile", round(compile_seconds, 1), f"{architecture.layers} layers x 0.7 s, cold cache"
        ),
        StartupPhase("warm-up", CAPTURE_SECONDS, "graph capture and one generation"),
    )


def load_seconds(phases: tuple[StartupPhase, ...]) -> float:
    """Everything but fetching: what the startup probe waits for."""
    return round(sum(phase.seconds for phase in phases if phase.phase != "fetch"), 1)
