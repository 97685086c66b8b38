"""LoRA adapters inside the serving pod: where they are mounted, and what runtime.json says of them."""

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.quantity import MIB
from gemma_operator.planning.origin import FetchedOrigin
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.containers import empty_volume, mount, mounted_volume
from gemma_operator.resources.fetch import ADAPTERS_VOLUME, fetch_volume
from gemma_operator.resources.layout import adapter_mount_folder, adapter_path, fetch_target

SPARE_PARTS = 20
"""A twentieth more than the files, for resume files and file system overhead."""


def adapter_paths(plan: Plan) -> dict[str, str]:
    """Name to path inside the pod."""
    return {adapter.name: adapter_path(plan, adapter) for adapter in plan.adapters}


def largest_rank(plan: Plan) -> int | None:
    """The rank that memory is planned for; None without adapters."""
    return max((adapter.rank for adapter in plan.adapters), default=None)


def adapter_mounts(plan: Plan) -> list[Manifest]:
    """Mounts of the engine's container beside that of the model's own files."""
    mounts = []
    if _have_their_own_volume(plan):
        mounts.append(mount(ADAPTERS_VOLUME, fetch_target(plan), read_only=True))
    for adapter in plan.adapters:
        if not adapter.weights.is_fetched:
            mounts.append(mount(_volume_name(adapter.name), adapter_mount_folder(adapter), read_only=True))
    return mounts


def adapter_volumes(plan: Plan) -> list[Manifest]:
    """Volumes of adapters: claims and images, and one for those that pods fetch beside a mounted model."""
    volumes = []
    if _have_their_own_volume(plan):
        volumes.append(fetched_volume(ADAPTERS_VOLUME, plan))
    for adapter in plan.adapters:
        origin = adapter.weights.origin
        if not isinstance(origin, FetchedOrigin):
            volumes.append(mounted_volume(_volume_name(adapter.name), origin))
    return volumes


def fetched_volume(name: str, plan: Plan) -> Manifest:
    """A scratch volume for everything that the pod fetches."""
    size = sum(weights.size_bytes for weights in plan.fetched)
    return empty_volume(name, size + size // SPARE_PARTS + MIB)


def _have_their_own_volume(plan: Plan) -> bool:
    fetched = plan.drafter is not None or any(adapter.weights.is_fetched for adapter in plan.adapters)
    return fetched and fetch_volume(plan) == ADAPTERS_VOLUME


def _volume_name(adapter: str) -> str:
    return f"adapter-{adapter}"
