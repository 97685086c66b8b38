"""What an attempt to place a model ends in: a Fit, or a Misfit that can say the sum."""

from collections.abc import Callable
from dataclasses import dataclass

from gemma_operator.api.quantity import gib
from gemma_operator.api.reasons import Reason
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Accelerator, EngineVersion
from gemma_operator.catalog.rows import Checkpoint
from gemma_operator.planning.inventory import NodeOffer
from gemma_operator.planning.kv_cache import LlamaCppCache
from gemma_operator.planning.memory import Demand, EngineSetup
from gemma_operator.planning.plan import MemoryBudget
from gemma_operator.planning.support import Verdict


@dataclass(frozen=True, slots=True)
class GpuFit:
    """A model that fits on `count` accelerators."""

    checkpoint: Checkpoint
    version: EngineVersion
    verdict: Verdict
    accelerator_key: str
    accelerator: Accelerator
    count: int
    setup: EngineSetup
    demand: Demand
    concurrency: int
    node: NodeOffer | None = None
    """The roomiest node that offers that many; None when nothing is known of the cluster."""


@dataclass(frozen=True, slots=True)
class CpuFit:
    """A model that fits into host memory."""

    catalog: Catalog
    checkpoint: Checkpoint
    version: EngineVersion
    verdict: Verdict
    cache: LlamaCppCache
    concurrency: int
    cpu_millicores: int
    weights_bytes: int
    kv_bytes: int
    overhead_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Misfit:
    """Why one attempt failed. A costly sentence is worked out where it is read: few attempts are reported."""

    reason: Reason
    sentence: str | Callable[[], str]
    shortfall_bytes: int = 0
    """Ranks attempts: the closest one is what a refusal reports."""
    verified: bool = False
    """The support matrix is sure of the combination: it is reported before one that is only expected."""

    limit: Callable[[], int] | None = None
    """The most that fits: requests where too many were asked for, tokens of context where memory lacks."""
    memory: MemoryBudget | None = None
    """The sum that does not fit."""

    @property
    def message(self) -> str:
        """What is needed, what there is, what to change."""
        return self.sentence if isinstance(self.sentence, str) else self.sentence()


Attempt = GpuFit | CpuFit | Misfit


def sum_sentence(needed: int, parts: dict[str, int]) -> str:
    """`needs 17.04 GiB (weights 14.20 + KV cache 1.24 + overhead 1.60)`."""
    addends = " + ".join(f"{name} {gib(value)}" for name, value in parts.items())
    return f"needs {gib(needed)} GiB ({addends})"
