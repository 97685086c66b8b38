"""The choice among hardware, engines, precisions and counts: which attempts to make, and which result to
take."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.rows import Accelerator, EngineVersion
from gemma_operator.planning.cpu import attempt_cpu
from gemma_operator.planning.fit import Attempt, CpuFit, GpuFit, Misfit
from gemma_operator.planning.gpu import Placement, attempt_gpu, impossible_count, legal_counts
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.plan import CPU
from gemma_operator.planning.precision import precision_order
from gemma_operator.planning.support import verdict_on
from gemma_operator.planning.wish import Wish
from gemma_operator.settings import PlanningSettings

GPU_ENGINES = (EngineName.TENSORRT_LLM, EngineName.VLLM)
"""In the order they are preferred when the support matrix is equally sure of both."""


@dataclass(frozen=True, slots=True)
class World:
    """What a choice is made from."""

    catalog: Catalog
    settings: PlanningSettings
    inventory: Inventory


def choose(wish: Wish, world: World) -> GpuFit | CpuFit | Misfit:
    """The first attempt that fits, in order of preference; else the misfit that came closest."""
    misfits: list[Misfit] = []
    for attempt in _attempts(wish, world):
        if not isinstance(attempt, Misfit):
            return attempt
        misfits.append(attempt)
    return closest(misfits) or _nothing(wish, world)


def closest(misfits: Iterable[Misfit]) -> Misfit | None:
    """The misfit to report: one that lacks memory before one that lacks support, the smallest lack first."""
    ranked = sorted(
        misfits,
        key=lambda misfit: (misfit.shortfall_bytes == 0, misfit.shortfall_bytes),
    )
    return ranked[0] if ranked else None


def _nothing(wish: Wish, world: World) -> Misfit:
    present = ", ".join(sorted(_present(world.inventory))) or "none"
    return Misfit(
        Reason.NO_ACCELERATOR,
        f"nothing in the cluster can serve {wish.variant_key}: accelerators present are {present}; "
        "add a node with one, or set hardware.accelerator to cpu",
    )


def _attempts(wish: Wish, world: World) -> Iterator[Attempt]:
    if wish.accelerator is not None and wish.accelerator.lower() == CPU:
        yield from on_cpu(wish, world)
        return
    if wish.accelerator is not None:
        found = world.catalog.accelerator(wish.accelerator)
        if found is None:
            yield _unknown_accelerator(wish.accelerator, world.catalog)
            return
        yield from on_accelerator(wish, world, *found)
        return
    if wish.count is None and wish.engine in (EngineName.AUTO, EngineName.LLAMA_CPP):
        yield from on_cpu(wish, world)
    for key, row in candidates(world):
        yield from on_accelerator(wish, world, key, row)


def candidates(world: World) -> list[tuple[str, Accelerator]]:
    """Accelerators that `Auto` may take: those present, or all that can be rented; the cheapest first."""
    catalog, present = world.catalog, _present(world.inventory)
    keys = [
        key
        for key in catalog.accelerators
        if (key in present if world.inventory.offers else _rentable(key, catalog))
    ]
    order = {key: place for place, key in enumerate(world.settings.accelerator_order)}

    def rank(key: str) -> tuple[bool, float, int, int]:
        price = catalog.prices.get(key)
        return (price is None, price.hourly if price else 0.0, order.get(key, len(order)), keys.index(key))

    return [(key, catalog.accelerators[key]) for key in sorted(keys, key=rank)]


def _present(inventory: Inventory) -> set[str]:
    return {offer.accelerator for offer in inventory.offers if offer.accelerator is not None}


def _rentable(key: str, catalog: Catalog) -> bool:
    row = catalog.accelerators[key]
    return row.refusal is None and row.parent is None and key in catalog.prices


def _unknown_accelerator(name: str, catalog: Catalog) -> Misfit:
    nearest = catalog.nearest_accelerators(name) or tuple(catalog.accelerators)[:5]
    return Misfit(
        Reason.UNKNOWN_ACCELERATOR, f"accelerator {name} does not exist; the nearest are {', '.join(nearest)}"
    )


def on_cpu(wish: Wish, world: World) -> Iterator[Attempt]:
    """Attempts in host memory, one per precision."""
    if wish.engine not in (EngineName.AUTO, EngineName.LLAMA_CPP):
        yield Misfit(
            Reason.UNSUPPORTED_ENGINE, f"{wish.engine.value} needs an accelerator; on cpu use LlamaCpp"
        )
        return
    version = _version(world, EngineName.LLAMA_CPP)
    for precision in _precisions(wish, EngineName.LLAMA_CPP):
        checkpoints = world.catalog.checkpoints_of(wish.variant_key, precision, EngineName.LLAMA_CPP)
        if not checkpoints:
            yield _no_checkpoint(wish, world.catalog, precision, EngineName.LLAMA_CPP)
            continue
        verdict = verdict_on(world.catalog, wish.variant_key, version, (0, 0), precision)
        if not verdict.works:
            yield _unsupported(wish, CPU, version, precision, verdict.note)
            continue
        yield attempt_cpu(wish, world.catalog, checkpoints[0], version, verdict, world.inventory)


def on_accelerator(wish: Wish, world: World, key: str, row: Accelerator) -> Iterator[Attempt]:
    """Attempts on one kind of accelerator: engines, precisions and counts in order of preference."""
    if row.refusal is not None:
        yield Misfit(Reason.UNKNOWN_ACCELERATOR, f"{key} cannot be used: {row.refusal}")
        return
    if wish.engine is EngineName.LLAMA_CPP:
        yield Misfit(
            Reason.UNSUPPORTED_ENGINE,
            f"LlamaCpp runs on cpu here; set hardware.accelerator to cpu, or use VLLM on {key}",
        )
        return
    placements, refused = _placements(wish, world, key, row)
    if wish.count is not None and placements:
        impossible = impossible_count(wish, placements[0], wish.count)
        if impossible is not None:
            yield impossible
            return
    for placement in placements:
        for count in _counts(wish, world, key, row):
            yield attempt_gpu(wish, placement, count)
    yield from refused


def _counts(wish: Wish, world: World, key: str, row: Accelerator) -> tuple[int, ...]:
    if wish.count is not None:
        return (wish.count,)
    counts = legal_counts(wish, row)
    offers = [offer.count for offer in world.inventory.offers if offer.accelerator == key]
    return tuple(count for count in counts if not offers or count <= max(offers))


def _placements(wish: Wish, world: World, key: str, row: Accelerator) -> tuple[list[Placement], list[Misfit]]:
    """What the support matrix lets run, the surest first within a precision; and why the rest does not."""
    catalog = world.catalog
    placements: list[Placement] = []
    refused: list[Misfit] = []
    engines = GPU_ENGINES if wish.engine is EngineName.AUTO else (wish.engine,)
    for precision in _precisions(wish, EngineName.VLLM):
        ready: list[Placement] = []
        for engine in engines:
            version = _version(world, engine)
            verdict = verdict_on(catalog, wish.variant_key, version, row.capability, precision)
            checkpoints = catalog.checkpoints_of(wish.variant_key, precision, engine)
            if not verdict.works:
                refused.append(_unsupported(wish, key, version, precision, verdict.note))
            elif row.host_architecture not in version.host_architectures:
                refused.append(_wrong_host(key, row, version))
            elif not checkpoints or (checkpoints[0].quantized_at_load and wish.precision is Precision.AUTO):
                refused.append(_no_checkpoint(wish, catalog, precision, engine))
            else:
                ready.append(Placement(catalog, checkpoints[0], version, verdict, key, row))
        placements += sorted(ready, key=lambda placement: placement.verdict.status.value, reverse=True)
    return placements, refused


def _precisions(wish: Wish, engine: EngineName) -> tuple[Precision, ...]:
    return precision_order(engine) if wish.precision is Precision.AUTO else (wish.precision,)


def _version(world: World, engine: EngineName) -> EngineVersion:
    """The image tag that settings name, or the catalogue's default."""
    tag = world.settings.gpu_image_tags.get(engine.value)
    version = world.catalog.engine_version(engine, tag) or world.catalog.engine_version(engine)
    if version is None:
        raise LookupError(f"the catalogue has no default version of {engine.value}")
    return version


def _unsupported(wish: Wish, where: str, version: EngineVersion, precision: Precision, note: str) -> Misfit:
    engine = f"{version.engine.value} {version.version}"
    fixed_precision = wish.precision is not Precision.AUTO
    reason = Reason.UNSUPPORTED_PRECISION if fixed_precision else Reason.UNSUPPORTED_ENGINE
    return Misfit(
        reason, f"{wish.variant_key} in {precision.value} on {where} with {engine} is not supported: {note}"
    )


def _wrong_host(key: str, row: Accelerator, version: EngineVersion) -> Misfit:
    built = ", ".join(version.host_architectures)
    return Misfit(
        Reason.UNSUPPORTED_ENGINE,
        f"{key} hosts are {row.host_architecture}, and image {version.tag} of {version.engine.value} is "
        f"known for "
        f"{built} only; name an image for {row.host_architecture} in a catalogue overlay, or use "
        f"another accelerator",
    )


def _no_checkpoint(wish: Wish, catalog: Catalog, precision: Precision, engine: EngineName) -> Misfit:
    there = sorted(
        {row.precision.value for row in catalog.checkpoints[wish.variant_key] if engine in row.engines}
    )
    return Misfit(
        Reason.UNSUPPORTED_PRECISION,
        f"no checkpoint of {wish.variant_key} in {precision.value} that {engine.value} reads is known; "
        f"there are {', '.join(there) or 'none'}",
    )
