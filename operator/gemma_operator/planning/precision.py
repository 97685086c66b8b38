"""Which precisions to try, in order, when the spec leaves the choice open."""

from gemma_operator.api.v1alpha1 import EngineName, Precision

Order = tuple[Precision, ...]

GPU_BALANCED: Order = (
    Precision.FP8,
    Precision.BF16,
    Precision.FP16,
    Precision.INT8,
    Precision.INT4,
    Precision.NVFP4,
)
"""The middle: half the bytes where hardware multiplies them natively, else the native type."""
CPU_BALANCED: Order = (Precision.Q4_K_M, Precision.Q4_0, Precision.Q8_0, Precision.BF16)
"""Decoding on CPU is bound by memory bandwidth: the mixed 4-bit type is the field's default."""
ALL_GPU: Order = GPU_BALANCED
ALL_CPU: Order = CPU_BALANCED


def precision_order(engine: EngineName) -> Order:
    """Precisions that a `precision: Auto` tries on this engine, the preferred first."""
    return CPU_BALANCED if engine is EngineName.LLAMA_CPP else GPU_BALANCED
