"""LoRA adapters inside the serving pod: where they are mounted, and what runtime.json says of them."""

from collections.abc import Iterator

from gemma_operator.api.manifest import Manifest, content_hash
from gemma_operator.api.quantity import MIB
from gemma_operator.planning.origin import ClaimOrigin, FetchedOrigin, Origin
from gemma_operator.planning.plan import AdapterPlan, Plan
from gemma_operator.resources.containers import empty_volume, mount, mounted_volume
from gemma_operator.resources.fetch import ADAPTERS_VOLUME, fetch_volume
from gemma_operator.resources.layout import (
    WEIGHTS_FOLDER,
    adapter_mount_folder,
    adapter_path,
    fetch_target,
)

SPARE_PARTS = 20
"""A twentieth more than the files, for resume files and file system overhead."""


def adapter_paths(plan: Plan) -> dict[str, str]:
    """Name to path inside the pod."""
    return {adapter.name: adapter_path(plan, adapter) for adapter in plan.adapters}


def largest_rank(plan: Plan) -> int | None:
    """The rank that memory is planned for; None without adapters."""
    if plan.adapter_room is not None:
        return plan.adapter_room.rank
    return max((adapter.rank for adapter in plan.adapters), default=None)


def adapter_mounts(plan: Plan) -> list[Manifest]:
    """Mounts of the engine's container beside that of the model's own files."""
    mounts = []
    if _have_their_own_volume(plan):
        mounts.append(mount(ADAPTERS_VOLUME, fetch_target(plan), read_only=True))
    mounted = {adapter_mount_folder(plan, adapter): volume for adapter, volume in _own_volumes(plan)}
    return [*mounts, *(mount(volume["name"], folder, read_only=True) for folder, volume in mounted.items())]


def adapter_volumes(plan: Plan) -> list[Manifest]:
    """Volumes of adapters: claims and images, and one for those that pods fetch beside a mounted model."""
    volumes = []
    if _have_their_own_volume(plan):
        volumes.append(fetched_volume(ADAPTERS_VOLUME, plan))
    named = {volume["name"]: volume for _, volume in _own_volumes(plan)}
    return [*volumes, *named.values()]


def _own_volumes(plan: Plan) -> Iterator[tuple[AdapterPlan, Manifest]]:
    """Claims and images of adapters.

    A claim is mounted once and whole, or is there with the model's files: another folder of it is no other
    pod.
    """
    for adapter in plan.adapters:
        origin = adapter.weights.origin
        if not isinstance(origin, FetchedOrigin) and adapter_mount_folder(plan, adapter) != WEIGHTS_FOLDER:
            yield adapter, mounted_volume(_volume_name(adapter.name, origin), origin)


def fetched_volume(name: str, plan: Plan) -> Manifest:
    """A scratch volume for everything that the pod fetches."""
    size = sum(weights.size_bytes for weights in plan.fetched)
    return empty_volume(name, size + size // SPARE_PARTS + MIB)


def _have_their_own_volume(plan: Plan) -> bool:
    fetched = plan.drafter is not None or any(adapter.weights.is_fetched for adapter in plan.adapters)
    return fetched and fetch_volume(plan) == ADAPTERS_VOLUME


def _volume_name(adapter: str, origin: Origin) -> str:
    if isinstance(origin, ClaimOrigin):
        return f"adapters-{content_hash(origin.claim_name)}"
    return f"adapter-{adapter}"
