"""Settings of the operator: read once from one mounted YAML file, then passed down."""

from pydantic import Field

from gemma_operator.api.base import ApiModel


class PlanningSettings(ApiModel):
    """What planning needs to know beside the spec, the catalogue and the cluster."""

    triton_cpu_image: str = Field(default="localhost/gemma-operator/triton-cpu:latest")
    """Image of the CPU engine."""
    gpu_image_repository: str = Field(default="nvcr.io/nvidia/tritonserver")
    """Repository of NVIDIA's Triton images; the catalogue names the tag."""
    gpu_image_tags: dict[str, str] = Field(default={})
    """Image tag per engine (`VLLM`, `TensorRTLLM`). Default: the catalogue's."""
    accelerator_order: tuple[str, ...] = Field(default=())
    """Preference among accelerators of equal or unknown price. Default: the catalogue's order."""
