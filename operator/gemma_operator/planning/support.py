"""What the support matrix says of one combination."""

from dataclasses import dataclass
from functools import lru_cache

from gemma_operator.api.v1alpha1 import Precision
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import EngineVersion, Support, SupportStatus
from gemma_operator.planning.units import version_tuple

Capability = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status of a combination and the sentence that goes with it."""

    status: SupportStatus
    note: str
    thread: str | None

    @property
    def works(self) -> bool:
        """Verified or expected."""
        return self.status is not SupportStatus.BROKEN


UNKNOWN = Verdict(SupportStatus.BROKEN, "the support matrix knows no such combination", None)


def verdict_on(
    catalog: Catalog, variant_key: str, version: EngineVersion, capability: Capability, precision: Precision
) -> Verdict:
    """First matching row of the matrix; unknown combinations do not work."""
    variant = catalog.variants[variant_key]
    if variant.architecture is None:
        return UNKNOWN
    body = catalog.architectures[variant.architecture].body
    return _lookup(catalog, variant_key, body, (version.engine.value, version.version), capability, precision)


@lru_cache(maxsize=65536)
def _lookup(
    catalog: Catalog,
    variant_key: str,
    body: str,
    engine: tuple[str, str],
    capability: Capability,
    precision: Precision,
) -> Verdict:
    name, number = engine
    version = version_tuple(number)
    for row in catalog.support:
        if (
            row.engine.value == name
            and body in row.bodies
            and precision in row.precisions
            and _names(row, variant_key)
            and _covers_version(row, version)
            and _covers_capability(row, capability)
        ):
            return Verdict(row.status, row.note, row.thread)
    return UNKNOWN


def _names(row: Support, variant_key: str) -> bool:
    return not row.variants or any(variant_key.startswith(prefix) for prefix in row.variants)


def _covers_version(row: Support, version: tuple[int, ...]) -> bool:
    if version and version < version_tuple(row.minimum_version):
        return False
    return row.below_version is None or not version or version < version_tuple(row.below_version)


def _covers_capability(row: Support, capability: Capability) -> bool:
    if capability < _capability(row.minimum_capability):
        return False
    return row.below_capability is None or capability < _capability(row.below_capability)


def _capability(text: str) -> Capability:
    major, minor = text.split(".")
    return int(major), int(minor)
