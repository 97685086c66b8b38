"""The joined catalogue: one immutable value, built once by `load.py` and passed down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.catalog.argument_rows import KnownArguments, RefusedArguments
from gemma_operator.catalog.hardware_rows import (
    Accelerator,
    Efficiency,
    EngineVersion,
    Price,
    Support,
)
from gemma_operator.catalog.rows import Architecture, Checkpoint, Scheme, Variant, WeightType

EMPTY: Mapping[str, float] = MappingProxyType({})


def _generation(key: str) -> str:
    """`gemma-3-` of `gemma-3-27b-it`; `gemma-` of `gemma-2b`."""
    name, _, rest = key.partition("-")
    number = rest.split("-")[0]
    return f"{name}-{number}-" if number[:1].isdigit() and not number.endswith(("b", "m")) else f"{name}-"


@dataclass(frozen=True, eq=False)
class Catalog:
    """All facts by key. Compared and hashed by identity: load it once and pass it on."""

    architectures: Mapping[str, Architecture]
    variants: Mapping[str, Variant]
    checkpoints: Mapping[str, tuple[Checkpoint, ...]]
    """By variant key, native checkpoint first."""
    types: Mapping[str, WeightType]
    schemes: Mapping[str, Scheme]
    accelerators: Mapping[str, Accelerator]
    """In the order of the data file; partitions follow the accelerator they are cut from."""
    engines: tuple[EngineVersion, ...]
    support: tuple[Support, ...]
    efficiencies: tuple[Efficiency, ...]
    known_arguments: KnownArguments = field(default_factory=dict)
    refused_arguments: tuple[RefusedArguments, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)

    def variant(self, name: str) -> Variant | None:
        """The variant of that key; upper case is forgiven (`gemma-4-E2B-it`)."""
        return self.variants.get(name.lower())

    def architecture_of(self, variant: Variant) -> Architecture:
        """Layer table of a served variant; raises KeyError for one that is refused."""
        if variant.architecture is None:
            raise KeyError(variant.repository)
        return self.architectures[variant.architecture]

    def accelerator(self, name: str) -> tuple[str, Accelerator] | None:
        """Key and row of an accelerator named by key or alias, upper case forgiven."""
        wanted = name.lower()
        if wanted in self.accelerators:
            return wanted, self.accelerators[wanted]
        for key, row in self.accelerators.items():
            if wanted in row.aliases or (row.label is not None and wanted == row.label):
                return key, row
        return None

    def engine_version(self, engine: EngineName, tag: str | None = None) -> EngineVersion | None:
        """The row of an image tag, or the engine's default row; None when the tag is unknown."""
        rows = [row for row in self.engines if row.engine is engine]
        if tag is not None:
            return next((row for row in rows if row.tag == tag), None)
        return next((row for row in rows if row.default), None)

    def checkpoints_of(
        self, variant_key: str, precision: Precision, engine: EngineName
    ) -> tuple[Checkpoint, ...]:
        """Checkpoints of that precision that the engine reads."""
        return tuple(
            row
            for row in self.checkpoints.get(variant_key, ())
            if row.precision is precision and engine in row.engines
        )

    def nearest_variants(self, name: str) -> tuple[str, ...]:
        """Up to five served keys like the given name: its own forms, then its generation."""
        wanted = name.lower()
        served = [key for key, row in self.variants.items() if row.refusal is None]
        forms = [key for key in (f"{wanted}-it", f"{wanted}-pt") if key in served]
        prefix = max((p for key in served if wanted.startswith(p := _generation(key))), key=len, default="")
        form = wanted.rsplit("-", 1)[-1]
        same = [key for key in served if prefix and _generation(key) == prefix]
        alike = [key for key in same if key.endswith(f"-{form}")] or same
        close = get_close_matches(wanted, alike or served, n=5, cutoff=0.6)
        return tuple(dict.fromkeys([*forms, *close]))[:5]

    def nearest_accelerators(self, name: str) -> tuple[str, ...]:
        """Up to five accelerator keys that look like the given name, the closest first."""
        wanted = name.lower()
        inside = [key for key in self.accelerators if wanted.removeprefix("nvidia-") in key]
        close = get_close_matches(wanted, self.accelerators, n=5, cutoff=0.5)
        return tuple(dict.fromkeys([*inside, *close]))[:5]
