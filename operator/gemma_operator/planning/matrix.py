"""The whole matrix: every served variant on every accelerator, in one precision each or in the planner's
own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, ModelSpec, Precision
from gemma_operator.planning.choose import choose
from gemma_operator.planning.fit import CpuFit, GpuFit, Misfit
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import CPU, Refusal
from gemma_operator.planning.wish import Wish, wish_of


@dataclass(frozen=True, slots=True)
class Cell:
    """One variant on one kind of hardware in one precision."""

    variant: str
    accelerator: str
    precision: Precision
    """As asked; Auto means the planner's choice."""
    fit: GpuFit | CpuFit | Misfit

    @property
    def fits(self) -> bool:
        """Whether it can be served."""
        return not isinstance(self.fit, Misfit)

    @property
    def text(self) -> str:
        """`2x FP8, 6 at once`; a dash where nothing fits."""
        if isinstance(self.fit, Misfit):
            return "–"
        precision, requests = self.fit.checkpoint.precision.value, self.fit.concurrency
        count = f"{self.fit.count}x " if isinstance(self.fit, GpuFit) else ""
        return f"{count}{precision}, {requests}"


def matrix(
    world: World, accelerators: Iterable[str], precisions: Iterable[Precision], context: int | None = None
) -> Iterator[Cell]:
    """Cells in catalogue order, variants outermost. Contexts above a variant's maximum are cut to it."""
    hardware, wanted = tuple(accelerators), tuple(precisions)
    for variant, wish in served_wishes(world, context):
        for accelerator in hardware:
            for precision in wanted:
                asked = replace(wish, accelerator=accelerator, precision=precision)
                yield Cell(variant, accelerator, precision, choose(asked, world))


def served_wishes(world: World, context: int | None = None) -> Iterator[tuple[str, Wish]]:
    """A wish for each served variant."""
    for key, variant in world.catalog.variants.items():
        if variant.refusal is not None:
            continue
        length = None if context is None else min(context, variant.context_length)
        wish = wish_of(
            GemmaDeploymentSpec(model=ModelSpec(variant=key, context_length=length)), world.catalog
        )
        if not isinstance(wish, Refusal):
            yield key, wish


def rentable(world: World) -> tuple[str, ...]:
    """Accelerators worth a column: whole devices that anything runs on, and the CPU."""
    keys = (
        key for key, row in world.catalog.accelerators.items() if row.refusal is None and row.parent is None
    )
    return (CPU, *keys)
