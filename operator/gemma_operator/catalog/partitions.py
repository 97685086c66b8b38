"""MIG partitions as accelerators of their own, derived from the device they are cut from."""

from collections.abc import Iterator

from gemma_operator.catalog.hardware_rows import Accelerator, MigProfile
from gemma_operator.catalog.rows import Confidence

MEMORY_EIGHTHS = 8
"""A device's memory and bandwidth are cut in eighths, its compute in sevenths (NVIDIA MIG guide)."""
COMPUTE_SEVENTHS = 7
PARTITION_MEMORY_SHARE = 0.97
"""Of the nominal share a partition keeps a little less for itself: 1g.10gb of H100-80 reports 9.8 of 10
GB."""


def partitions_of(key: str, device: Accelerator) -> Iterator[tuple[str, Accelerator]]:
    """Key and row of each partition of a device, smallest first."""
    for profile in device.mig:
        yield f"{key}-mig-{profile.name}", _partition(key, device, profile)


def _partition(key: str, device: Accelerator, profile: MigProfile) -> Accelerator:
    slices = int(profile.name.split("g.")[0])
    share = _eighths(device.memory_gib, profile) / MEMORY_EIGHTHS
    memory_gib = device.memory_gib * share * PARTITION_MEMORY_SHARE
    return device.model_copy(
        update={
            "name": f"{device.name}, partition {profile.name}",
            "aliases": (),
            "gfd_products": tuple(f"{product}-MIG-{profile.name}" for product in device.gfd_products),
            "instance_types": (),
            "memory_gib": round(memory_gib, 2),
            "memory_confidence": Confidence.INFERRED,
            "bandwidth_gbps": round(device.bandwidth_gbps * share, 1),
            "tflops": {
                name: round(value * slices / COMPUTE_SEVENTHS, 1) for name, value in device.tflops.items()
            },
            "counts": (1,),
            "machines": (),
            "mig": (),
            "parent": key,
            "resource_name": f"nvidia.com/mig-{profile.name}",
            "confidence": Confidence.INFERRED,
        }
    )


def _eighths(device_memory_gib: float, profile: MigProfile) -> int:
    """How many eighths of the device's memory the profile takes: its name holds gigabytes."""
    gigabytes = float(profile.name.split(".")[1].removesuffix("gb"))
    return max(1, round(MEMORY_EIGHTHS * gigabytes / device_memory_gib))
