"""All attempts on one kind of hardware: engines by the support matrix, precisions and counts in order."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gemma_operator.api.quantity import GIB, gib
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, Optimization, Precision
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Accelerator, EngineVersion
from gemma_operator.catalog.rows import Checkpoint
from gemma_operator.planning.cpu import NODE_RESERVE_BYTES, attempt_cpu
from gemma_operator.planning.fit import Attempt, GpuFit, Misfit
from gemma_operator.planning.gpu import Placement, attempt_gpu, impossible_count, legal_counts
from gemma_operator.planning.host import least_host_bytes
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.plan import CPU
from gemma_operator.planning.precision import precision_order
from gemma_operator.planning.support import verdict_on
from gemma_operator.planning.units import ceil_div
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


def on_cpu(wish: Wish, world: World) -> Iterator[Attempt]:
    """Attempts in host memory, one per precision."""
    if wish.engine not in (EngineName.AUTO, EngineName.LLAMA_CPP):
        yield Misfit(
            Reason.UNSUPPORTED_ENGINE, f"{wish.engine.value} needs an accelerator; on cpu use LlamaCpp"
        )
        return
    if wish.count is not None:
        yield Misfit(
            Reason.IMPOSSIBLE_COUNT,
            "hardware.count counts accelerators; leave it out where accelerator is cpu",
        )
        return
    version = engine_version(world, EngineName.LLAMA_CPP, wish)
    if wish.adapters and not version.serves_adapters(wish.architecture.body):
        yield _no_adapters(wish, version)
        return
    if wish.drafting is not None and not version.drafters:
        yield _no_drafter(wish, version)
        return
    for precision in _precisions(wish, EngineName.LLAMA_CPP):
        checkpoints = world.catalog.checkpoints_of(wish.variant_key, precision, EngineName.LLAMA_CPP)
        verdict = verdict_on(world.catalog, wish.variant_key, version, (0, 0), precision)
        if not verdict.works:
            yield _unsupported(wish, CPU, version, precision, verdict.note)
        elif not checkpoints:
            yield _no_checkpoint(wish, world.catalog, precision, EngineName.LLAMA_CPP)
        else:
            yield attempt_cpu(wish, world.catalog, checkpoints[0], version, verdict, world.inventory)


def on_accelerator(wish: Wish, world: World, key: str, row: Accelerator) -> Iterator[Attempt]:
    """Attempts on one kind of accelerator."""
    if row.refusal is not None:
        yield Misfit(Reason.UNKNOWN_ACCELERATOR, f"{key} cannot be used: {row.refusal}")
        return
    if wish.engine is EngineName.LLAMA_CPP:
        yield Misfit(
            Reason.UNSUPPORTED_ENGINE,
            f"LlamaCpp runs on cpu here; set hardware.accelerator to cpu, or use VLLM on {key}",
        )
        return
    if wish.count is not None:
        impossible = impossible_count(wish, key, row, wish.count)
        if impossible is not None:
            yield impossible
            return
    offered = _counts(wish, world, key, row)
    counts = [count for count in offered if _host_suffices(wish, count)]
    if offered and not counts:
        yield _host_too_small(wish, key, min(offered))
        return
    placements, refused = _placements(wish, world, key, row)
    for placement in placements:
        for count in counts:
            attempt = attempt_gpu(wish, placement, count)
            yield _hosted(attempt, wish, world) if isinstance(attempt, GpuFit) else attempt
    yield from refused


def _host_suffices(wish: Wish, count: int) -> bool:
    return wish.memory_bytes is None or wish.memory_bytes >= least_host_bytes(count, wish)


def _host_too_small(wish: Wish, key: str, count: int) -> Misfit:
    least, given = least_host_bytes(count, wish), wish.memory_bytes or 0
    return Misfit(
        Reason.DOES_NOT_FIT,
        f"{wish.variant_key} on {count} x {key} needs {gib(least)} GiB of host memory for the engine and "
        f"/dev/shm, has {gib(given)} GiB of hardware.memory; set it to {ceil_div(least, GIB)}Gi or more, or "
        "leave it out",
        shortfall_bytes=least - given,
    )


def _hosted(fit: GpuFit, wish: Wish, world: World) -> GpuFit | Misfit:
    """The fit with the node it would run on; a misfit where no node has the host memory."""
    key = fit.accelerator_key
    offers = [one for one in world.inventory.offers if one.accelerator == key and one.count >= fit.count]
    if not offers:
        return fit
    node = max(offers, key=lambda offer: (offer.memory_bytes, offer.cpu_millicores))
    needed = wish.memory_bytes or least_host_bytes(fit.count, wish)
    room = node.memory_bytes - NODE_RESERVE_BYTES
    if needed > room:
        return Misfit(
            Reason.DOES_NOT_FIT,
            f"{wish.variant_key} on {fit.count} x {key} needs {gib(needed)} GiB of host memory, the largest "
            f"such node has {gib(room)} GiB allocatable beside the gateway; use a larger machine",
            shortfall_bytes=1,  # the card holds it, so this is nearer than any card that does not
            verified=True,
        )
    return replace(fit, node=node)


def _counts(wish: Wish, world: World, key: str, row: Accelerator) -> tuple[int, ...]:
    if wish.count is not None:
        return (wish.count,)
    counts = legal_counts(wish, row)
    offers = [offer.count for offer in world.inventory.offers if offer.accelerator == key]
    return tuple(count for count in counts if not offers or count <= max(offers))


def _placements(wish: Wish, world: World, key: str, row: Accelerator) -> tuple[list[Placement], list[Misfit]]:
    """What the support matrix lets run, the surest first within a precision; and why the rest does not."""
    placements: list[Placement] = []
    refused: list[Misfit] = []
    engines = GPU_ENGINES if wish.engine is EngineName.AUTO else (wish.engine,)
    for precision in _precisions(wish, EngineName.VLLM):
        ready: list[Placement] = []
        for engine in engines:
            placement = _placement(wish, world, (key, row), engine, precision)
            if isinstance(placement, Misfit):
                refused.append(placement)
            else:
                ready.append(placement)
        placements += sorted(ready, key=lambda placement: placement.verdict.status.value, reverse=True)
    return placements, refused[::-1] if wish.engine is EngineName.AUTO else refused


def _placement(
    wish: Wish, world: World, where: tuple[str, Accelerator], engine: EngineName, precision: Precision
) -> Placement | Misfit:
    catalog, (key, row) = world.catalog, where
    version = engine_version(world, engine, wish)
    verdict = verdict_on(catalog, wish.variant_key, version, row.capability, precision)
    if not verdict.works:
        return _unsupported(wish, key, version, precision, verdict.note)
    if wish.image is None and row.host_architecture not in version.host_architectures:
        return _wrong_host(key, row, version)
    if wish.adapters and not version.serves_adapters(wish.architecture.body):
        return _no_adapters(wish, version)
    if wish.drafting is not None and not version.drafters:
        return _no_drafter(wish, version)
    checkpoint = _checkpoint(wish, catalog, precision, engine)
    if checkpoint is None:
        return _no_checkpoint(wish, catalog, precision, engine)
    return Placement(catalog, checkpoint, version, verdict, key, row)


def _checkpoint(wish: Wish, catalog: Catalog, precision: Precision, engine: EngineName) -> Checkpoint | None:
    """A published checkpoint; one that is quantised at load only where asked for or where bytes matter
    most."""
    rows = catalog.checkpoints_of(wish.variant_key, precision, engine)
    if not rows:
        return None
    asked = wish.precision is not Precision.AUTO or wish.optimization is Optimization.MAXIMUM_EFFICIENCY
    return rows[0] if asked or not rows[0].quantized_at_load else None


def _precisions(wish: Wish, engine: EngineName) -> tuple[Precision, ...]:
    if wish.precision is not Precision.AUTO:
        return (wish.precision,)
    return precision_order(engine, wish.optimization)


def engine_version(world: World, engine: EngineName, wish: Wish) -> EngineVersion:
    """What is in the spec's own image or in that of the settings, as far as the catalogue knows the tag.

    Else its default version; raises LookupError where it has none.
    """
    own = wish.image_tag and world.catalog.engine_version(engine, wish.image_tag)
    if own:
        return own
    tag = world.settings.gpu_image_tags.get(engine.value)
    version = world.catalog.engine_version(engine, tag) or world.catalog.engine_version(engine)
    if version is None:
        raise LookupError(f"engines.yaml has no default version of {engine.value}")
    return version


def _unsupported(wish: Wish, where: str, version: EngineVersion, precision: Precision, note: str) -> Misfit:
    engine = f"{version.engine.value} {version.version}"
    reason = Reason.UNSUPPORTED_ENGINE if wish.precision is Precision.AUTO else Reason.UNSUPPORTED_PRECISION
    return Misfit(
        reason, f"{wish.variant_key} in {precision.value} on {where} with {engine} is not supported: {note}"
    )


def _wrong_host(key: str, row: Accelerator, version: EngineVersion) -> Misfit:
    built = ", ".join(version.host_architectures)
    return Misfit(
        Reason.UNSUPPORTED_ENGINE,
        f"{key} hosts are {row.host_architecture}, and image {version.tag} of {version.engine.value} is "
        f"known "
        f"for {built} only; name one for {row.host_architecture} in engine.image, or use another "
        "accelerator",
    )


def _no_adapters(wish: Wish, version: EngineVersion) -> Misfit:
    elsewhere = "use VLLM, or " if version.engine is EngineName.TENSORRT_LLM else ""
    return Misfit(
        Reason.UNSUPPORTED_ENGINE,
        f"{wish.variant_key} was asked for with {wish.adapters} adapters, which {version.engine.value} "
        f"{version.version} does not serve here; {elsewhere}leave the adapters out",
    )


def _no_drafter(wish: Wish, version: EngineVersion) -> Misfit:
    elsewhere = "leave" if version.engine is EngineName.VLLM else "use VLLM on an accelerator, or leave"
    return Misfit(
        Reason.UNSUPPORTED_ENGINE,
        f"{wish.variant_key} was asked for with a drafter, which {version.engine.value} {version.version} "
        f"does not run here; {elsewhere} engine.drafter out",
    )


def _no_checkpoint(wish: Wish, catalog: Catalog, precision: Precision, engine: EngineName) -> Misfit:
    rows = catalog.checkpoints[wish.variant_key]
    there = dict.fromkeys(row.precision.value for row in rows if engine in row.engines)
    return Misfit(
        Reason.UNSUPPORTED_PRECISION,
        f"no checkpoint of {wish.variant_key} in {precision.value} that {engine.value} reads is known; "
        f"there are {', '.join(there) or 'none'}",
    )
