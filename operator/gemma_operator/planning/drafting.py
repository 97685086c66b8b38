"""Drafters: small models that guess tokens ahead, which the engine then checks in one step."""

from dataclasses import dataclass, replace

from gemma_operator.api.v1alpha1 import DrafterSpec, GemmaDeploymentSpec
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.rows import Variant
from gemma_operator.planning.origin import HubOrigin, hub_origin
from gemma_operator.planning.plan import DrafterPlan, WeightsPlan

DRAFTER_SHARE = 0.015
"""Drafters hold 1.5 % of their target's parameters (E2B and 31B are published; the others are not)."""
DRAFTER_ELEMENT_BYTES = 2
"""Drafters are published in the run type."""
DRAFTER_FILES = ("*.safetensors", "*.json")


@dataclass(frozen=True, slots=True)
class Drafting:
    """What a spec asks of a drafter, resolved against the catalogue."""

    repository: str
    revision: str | None
    tokens: int
    parameters: int

    @property
    def weights_bytes(self) -> int:
        """Of the whole drafter, on disk as in memory. It reads the target's KV cache and has none."""
        return self.parameters * DRAFTER_ELEMENT_BYTES


def drafting_of(asked: DrafterSpec | None, variant: Variant, catalog: Catalog) -> Drafting | None:
    """The drafter that is asked for. Raises LookupError, with the sentence, for a variant without one."""
    if asked is None:
        return None
    if variant.drafter is None:
        having = [key for key, row in catalog.variants.items() if row.drafter is not None]
        raise LookupError(
            f"{variant.repository} has no drafter; {', '.join(having)} have one; leave engine.drafter out"
        )
    row = catalog.variants[variant.drafter]
    target = catalog.architecture_of(variant).parameters.file
    own = asked.repository is not None and asked.repository != row.repository
    return Drafting(
        repository=asked.repository or row.repository,
        revision=asked.revision or (None if own else row.revision),
        tokens=asked.tokens,
        parameters=row.file_parameters or int(target * DRAFTER_SHARE),
    )


def drafter_plan(drafting: Drafting | None, spec: GemmaDeploymentSpec) -> DrafterPlan | None:
    """Its files, from the model's hub with the model's token."""
    if drafting is None:
        return None
    hub = spec.model.source.hugging_face if spec.model.source else None
    origin = HubOrigin(drafting.repository, drafting.revision)
    if hub is not None:
        origin = replace(hub_origin(hub), repository=drafting.repository, revision=drafting.revision)
    return DrafterPlan(WeightsPlan(origin, DRAFTER_FILES, ".", drafting.weights_bytes), drafting.tokens)
