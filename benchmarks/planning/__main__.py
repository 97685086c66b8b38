"""How long planning takes: one plan, refusals with their remedies, loading the catalogue, the whole matrix.

    python -m benchmarks.planning

Figures are CPU time of one process, so that a busy machine does not change them. Limits: one plan 5 ms, the
whole matrix (every device x every served variant x every precision) 3 s.
"""

import statistics
import time
from collections.abc import Callable

from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, Precision
from gemma_operator.catalog import load_catalog
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.matrix import matrix
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import Refusal
from gemma_operator.planning.planner import decide, make_plan
from gemma_operator.settings import PlanningSettings

REPEATS = 30
PLAN_LIMIT_MS = 5.0
MATRIX_LIMIT_S = 3.0
CASES: dict[str, dict[str, object]] = {
    "270m on cpu": {"model": {"variant": "gemma-3-270m"}, "hardware": {"accelerator": "cpu"}},
    "27b on a named card": {"model": {"variant": "gemma-3-27b-it"}, "hardware": {"accelerator": "nvidia-l4"}},
    "31b, cheapest of all": {"model": {"variant": "gemma-4-31b-it"}},
    "refused: too large": {
        "model": {"variant": "gemma-3-27b-it", "precision": "BF16"},
        "hardware": {"accelerator": "nvidia-l4", "count": 1},
    },
    "refused: too many requests": {
        "model": {"variant": "gemma-3-12b-it"},
        "hardware": {"accelerator": "nvidia-l4", "count": 1},
        "capacity": {"maxConcurrentRequests": 64},
    },
    "refused: unknown variant": {"model": {"variant": "gemma-3-8b-it"}},
}


def milliseconds(action: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    action()
    return (time.process_time() - start) * 1000


def main() -> int:
    """Print the table; 1 when a limit is missed."""
    print(f"catalogue, read and checked: {milliseconds(load_catalog):.0f} ms")
    catalog = load_catalog()
    world = World(catalog, PlanningSettings(require_token=False), Inventory())
    missed = False
    print(f"{'case':30} {'first':>8} {'median':>8} {'worst':>8}   ms, of {REPEATS} more")
    for name, fields in CASES.items():
        spec = GemmaDeploymentSpec.model_validate(fields)

        def plan(spec: GemmaDeploymentSpec = spec) -> object:
            return make_plan(spec, world.catalog, world.settings, world.inventory)

        first = milliseconds(plan)
        rest = [milliseconds(plan) for _ in range(REPEATS)]
        missed |= statistics.median(rest) > PLAN_LIMIT_MS
        print(f"{name:30} {first:8.2f} {statistics.median(rest):8.2f} {max(rest):8.2f}")
    missed |= _whole_matrix(world)
    return int(missed)


def _whole_matrix(world: World) -> bool:
    devices = [key for key, row in world.catalog.accelerators.items() if row.parent is None]
    precisions = list(Precision)
    start = time.process_time()
    cells = list(matrix(world, devices, precisions))
    seconds = time.process_time() - start
    print(f"matrix of {len(cells)} cells, {sum(cell.fits for cell in cells)} fit: {seconds:.2f} s")
    start = time.process_time()
    served = [key for key, row in world.catalog.variants.items() if row.refusal is None]
    refused = 0
    for variant in served:
        for device in devices:
            for precision in precisions:
                model = {"variant": variant, "precision": precision}
                fields = {"model": model, "hardware": {"accelerator": device}}
                refused += isinstance(decide(GemmaDeploymentSpec.model_validate(fields), world), Refusal)
    whole = time.process_time() - start
    print(f"the same as {len(cells)} specs, parsed, decided and composed: {whole:.2f} s ({refused} refused)")
    return max(seconds, whole) > MATRIX_LIMIT_S


if __name__ == "__main__":
    raise SystemExit(main())
