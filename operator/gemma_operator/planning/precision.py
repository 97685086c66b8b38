"""Which precisions to try, in order, when the spec leaves the choice open."""

from gemma_operator.api.v1alpha1 import EngineName, Optimization, Precision

Order = tuple[Precision, ...]

GPU: dict[Optimization, Order] = {
    Optimization.PERFORMANCE: (
        Precision.BF16,
        Precision.FP16,
        Precision.FP8,
        Precision.INT8,
        Precision.NVFP4,
        Precision.INT4,
    ),
    Optimization.BALANCED: (
        Precision.FP8,
        Precision.BF16,
        Precision.FP16,
        Precision.INT8,
        Precision.NVFP4,
        Precision.INT4,
    ),
    Optimization.MAXIMUM_EFFICIENCY: (
        Precision.NVFP4,
        Precision.INT4,
        Precision.FP8,
        Precision.INT8,
        Precision.BF16,
        Precision.FP16,
    ),
}
"""Performance is the native type; Balanced halves the bytes where the hardware multiplies them natively; and
MaximumEfficiency takes the fewest bytes."""
CPU: dict[Optimization, Order] = {
    Optimization.PERFORMANCE: (Precision.BF16, Precision.Q8_0, Precision.Q4_K_M, Precision.Q4_0),
    Optimization.BALANCED: (Precision.Q4_K_M, Precision.Q8_0, Precision.Q4_0, Precision.BF16),
    Optimization.MAXIMUM_EFFICIENCY: (Precision.Q4_0, Precision.Q4_K_M, Precision.Q8_0, Precision.BF16),
}
"""Decoding on CPU is bound by memory bandwidth, so its middle is the mixed 4-bit type."""


def precision_order(engine: EngineName, optimization: Optimization) -> Order:
    """Precisions that `precision: Auto` tries on this engine, the preferred first."""
    return (CPU if engine is EngineName.LLAMA_CPP else GPU)[optimization]
