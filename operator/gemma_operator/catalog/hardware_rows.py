"""Rows of the hardware and engine files: accelerators, images, support matrix, efficiencies, prices."""

from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.catalog.rows import Confidence, Key, PositiveCount, Row


class MachineType(BaseModel):
    """A machine shape that carries the accelerator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    count: PositiveCount
    vcpus: PositiveCount | None = None
    memory_gib: float | None = None


class MigProfile(BaseModel):
    """One equal partition of the accelerator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Such as `1g.10gb`."""
    per_device: PositiveCount


class Accelerator(Row):
    """One accelerator as an engine sees it."""

    name: str
    aliases: tuple[str, ...] = ()
    label: str | None = None
    """Value of `cloud.google.com/gke-accelerator`."""
    gfd_products: tuple[str, ...] = ()
    """Values of `nvidia.com/gpu.product` (GPU Feature Discovery)."""
    instance_types: tuple[str, ...] = ()
    """EKS and AKS instance type prefixes that carry it."""
    architecture_name: str
    throughput_class: str
    """Which calibrated efficiency applies: a key of throughput.yaml."""
    compute_capability: str
    host_architecture: str
    memory_gib: Annotated[float, Field(gt=0)]
    """What CUDA sees."""
    memory_confidence: Confidence
    bandwidth_gbps: Annotated[float, Field(gt=0)]
    """GB/s."""
    tflops: dict[str, float]
    """Dense, by compute class bf16, fp8, int8, fp4."""
    nvlink: bool = False
    counts: tuple[int, ...] = (1,)
    """Accelerators per machine that can be had."""
    machines: tuple[MachineType, ...] = ()
    mig: tuple[MigProfile, ...] = ()
    parent: Key | None = None
    """Set on MIG partitions: the accelerator they are cut from."""
    resource_name: str = "nvidia.com/gpu"
    refusal: str | None = None
    """Why nothing here runs on it."""

    @cached_property
    def capability(self) -> tuple[int, int]:
        """Compute capability as (major, minor); (0, 0) where there is none."""
        if not self.compute_capability:
            return (0, 0)
        major, minor = self.compute_capability.split(".")
        return (int(major), int(minor))


class EngineVersion(Row):
    """One image tag and what is in it."""

    engine: EngineName
    version: str
    tag: str
    """Tag of NVIDIA's Triton image; empty for the CPU image."""
    cuda: str | None = None
    minimum_driver: str | None = None
    host_architectures: tuple[str, ...] = ("amd64",)
    default: bool = False
    adapters: bool = False
    """Serves LoRA adapters."""
    adapters_except: tuple[str, ...] = ()
    """Bodies that it serves without adapters only."""
    drafters: bool = False
    """Runs Gemma 4's multi-token-prediction drafters."""
    image_gb: float | None = None

    def serves_adapters(self, body: str) -> bool:
        """Whether a model of this body can have LoRA adapters."""
        return self.adapters and body not in self.adapters_except


class SupportStatus(StrEnum):
    """What is known of a combination."""

    VERIFIED = "verified"
    EXPECTED = "expected"
    BROKEN = "broken"


class Support(Row):
    """One line of the support matrix; the first that matches decides."""

    engine: EngineName
    bodies: tuple[str, ...]
    variants: tuple[str, ...] = ()
    """Narrows to these variant prefixes."""
    minimum_version: str = "0"
    below_version: str | None = None
    minimum_capability: str = "0.0"
    below_capability: str | None = None
    precisions: tuple[Precision, ...]
    status: SupportStatus
    note: str
    thread: str | None = None


class Efficiency(Row):
    """One calibrated efficiency of (accelerator class, engine, precision class)."""

    throughput_class: str
    engine: EngineName
    precision_class: str
    bandwidth: Annotated[float, Field(gt=0, le=1)]
    """Share of peak bandwidth that decode reaches."""
    compute: Annotated[float, Field(gt=0, le=1)]
    """Share of peak FLOPS that prefill reaches."""
    layer_microseconds: Annotated[float, Field(ge=0)]
    """Fixed cost per layer and step: launches, norms, collectives not included."""
    band: Annotated[float, Field(gt=0, lt=1)]
    """Relative half-width of the interval."""


class Price(Row):
    """Price of one accelerator hour."""

    accelerator: Key
    hourly: Annotated[float, Field(gt=0)]
    """Per accelerator, host included where the note says so."""
    currency: str = "USD"
    as_of: Annotated[str, BeforeValidator(str)]
    """Date of the price; YAML reads an unquoted one as a date."""
    note: str = ""
