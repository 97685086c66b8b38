"""The choice among hardware: which attempts to make, in which order, and which result to take."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Accelerator
from gemma_operator.planning.cost import hourly_cost
from gemma_operator.planning.fit import Attempt, CpuFit, GpuFit, Misfit
from gemma_operator.planning.outlook import cpu_fit_speed, typical_load
from gemma_operator.planning.place import World, on_accelerator, on_cpu
from gemma_operator.planning.plan import CPU
from gemma_operator.planning.wish import Wish

INTERACTIVE_TOKENS_PER_SECOND = 20.0
"""`Auto` takes CPU before an accelerator where one stream is at least this fast: twice a fast reader's
speed."""
CPU_CONCURRENCY = 8
"""More requests at once than this are no task for a CPU under `Auto`."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A fit and what it costs by the hour; unknown prices sort last."""

    fit: GpuFit
    hourly: float


def choose(wish: Wish, world: World) -> GpuFit | CpuFit | Misfit:
    """The attempt to take, in order of preference; else the misfit that came closest."""
    if wish.candidates:
        return _first(_ordered(wish, world)) or _nothing(wish, world)
    if wish.accelerator is None:
        return _automatic(wish, world)
    if wish.accelerator.lower() == CPU:
        return _first(on_cpu(wish, world)) or _nothing(wish, world)
    found = world.catalog.accelerator(wish.accelerator)
    if found is None:
        return _unknown_accelerator(wish.accelerator, world.catalog)
    return _first(on_accelerator(wish, world, *found)) or _nothing(wish, world)


def closest(misfits: Iterable[Misfit]) -> Misfit | None:
    """The misfit to report: too few requests before too little memory, the smallest lack first."""
    return min(misfits, key=_distance, default=None)


def _distance(misfit: Misfit) -> tuple[int, bool, int]:
    order = {Reason.CONCURRENCY_TOO_HIGH: 0, Reason.DOES_NOT_FIT: 1}
    return (order.get(misfit.reason, 2), not misfit.verified, misfit.shortfall_bytes)


def _first(attempts: Iterator[Attempt]) -> GpuFit | CpuFit | Misfit | None:
    misfits: list[Misfit] = []
    for attempt in attempts:
        if not isinstance(attempt, Misfit):
            return attempt
        misfits.append(attempt)
    return closest(misfits)


def _ordered(wish: Wish, world: World) -> Iterator[Attempt]:
    """The spec's own candidates, in its order; in a cluster only those present."""
    present = {offer.accelerator for offer in world.inventory.offers}
    for name in wish.candidates:
        if name.lower() == CPU:
            yield from on_cpu(wish, world)
            continue
        found = world.catalog.accelerator(name)
        if found is None:
            yield _unknown_accelerator(name, world.catalog)
        elif world.inventory.offers and found[0] not in present:
            yield Misfit(Reason.NO_ACCELERATOR, f"no node of the cluster has {found[0]}")
        else:
            yield from on_accelerator(wish, world, *found)


def _automatic(wish: Wish, world: World) -> GpuFit | CpuFit | Misfit:
    cpu = _first(on_cpu(wish, world)) if wish.count is None else None
    if wish.engine not in (EngineName.AUTO, EngineName.LLAMA_CPP):
        cpu = None
    if isinstance(cpu, CpuFit) and _suits_cpu(cpu, wish):
        return cpu
    cheapest, misfits = _cheapest(wish, world)
    if cheapest is not None:
        return cheapest
    if isinstance(cpu, CpuFit):
        return cpu
    if isinstance(cpu, Misfit):
        misfits.append(cpu)
    return closest(misfits) or _nothing(wish, world)


def _suits_cpu(fit: CpuFit, wish: Wish) -> bool:
    if (wish.concurrency or 1) > CPU_CONCURRENCY:
        return False
    speed = cpu_fit_speed(fit, wish, typical_load(1, wish.context))
    return speed.per_request.expected >= INTERACTIVE_TOKENS_PER_SECOND


def _cheapest(wish: Wish, world: World) -> tuple[GpuFit | None, list[Misfit]]:
    """The cheapest fit among the candidates; unpriced ones only where no priced one fits."""
    best: Priced | None = None
    misfits: list[Misfit] = []
    for key, row in candidates(world):
        least = hourly_cost(world.catalog, key, 1)
        if best is not None and (least is None or least >= best.hourly):
            break
        result = _first(on_accelerator(wish, world, key, row))
        if isinstance(result, Misfit):
            misfits.append(result)
        elif isinstance(result, GpuFit):
            hourly = hourly_cost(world.catalog, key, result.count)
            if best is None or (hourly is not None and hourly < best.hourly):
                best = Priced(result, float("inf") if hourly is None else hourly)
    return (best.fit if best else None), misfits


def candidates(world: World) -> list[tuple[str, Accelerator]]:
    """Accelerators that `Auto` may take: those present, or all that have a price; the cheapest first."""
    catalog = world.catalog
    present = {offer.accelerator for offer in world.inventory.offers}
    order = {key: place for place, key in enumerate(world.settings.accelerator_order)}
    keys = [
        key
        for key, row in catalog.accelerators.items()
        if (key in present if world.inventory.offers else row.refusal is None and key in catalog.prices)
    ]

    def rank(place: int) -> tuple[float, int, int]:
        key = keys[place]
        price = hourly_cost(catalog, key, 1)
        return (float("inf") if price is None else price, order.get(key, len(order)), place)

    return [(keys[place], catalog.accelerators[keys[place]]) for place in sorted(range(len(keys)), key=rank)]


def _nothing(wish: Wish, world: World) -> Misfit:
    present = sorted({offer.accelerator for offer in world.inventory.offers if offer.accelerator})
    return Misfit(
        Reason.NO_ACCELERATOR,
        f"nothing in the cluster can serve {wish.variant_key}: accelerators present are "
        f"{', '.join(present) or 'none'}; add a node with one, or set hardware.accelerator to cpu",
    )


def _unknown_accelerator(name: str, catalog: Catalog) -> Misfit:
    nearest = catalog.nearest_accelerators(name) or tuple(catalog.accelerators)[:5]
    return Misfit(
        Reason.UNKNOWN_ACCELERATOR, f"accelerator {name} does not exist; the nearest are {', '.join(nearest)}"
    )
