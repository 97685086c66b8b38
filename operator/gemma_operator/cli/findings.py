"""What `gemma-operator doctor` makes of what it saw. Pure: each check is one function of one answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.served import unprotected
from gemma_operator.catalog import Catalog
from gemma_operator.planning.inventory import inventory_from_nodes
from gemma_operator.planning.units import version_tuple
from gemma_operator.status.pods import trouble_of

DRIVER_LABEL = "nvidia.com/cuda.driver-version.full"
"""GPU Feature Discovery from 0.15 on; before, three labels had one part each."""
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BACK_ENDS = {
    "metrics.k8s.io": "resource metrics (HPA on CPU and memory, kubectl top)",
    "custom.metrics.k8s.io": "custom metrics (HPA on waiting requests)",
    "external.metrics.k8s.io": "external metrics (HPA, KEDA's adapter)",
    "keda.sh": "KEDA (scaling to zero)",
    "monitoring.coreos.com": "Prometheus Operator (the chart's monitors and rules)",
}
"""API groups that scaling and monitoring build on, and what each is for."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    subject: str
    message: str


def schema_finding(missing: Sequence[str]) -> Finding:
    """Whether the CustomResourceDefinition is this version's."""
    if not missing:
        return Finding(Level.OK, "CRD", "has every field that this version knows")
    named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    held = "; until then no GemmaDeployment is changed" if unprotected(missing) else ""
    return Finding(
        Level.BAD, "CRD", f"is older than this version and drops {named}: apply crds/ of this version{held}"
    )


def permission_findings(who: str, denied: Sequence[str]) -> list[Finding]:
    """One line when all is granted, else one for each permission that is not."""
    if not denied:
        return [Finding(Level.OK, "permissions", f"{who} may do everything that the operator does")]
    return [Finding(Level.BAD, "permissions", f"{who} may not {missing}") for missing in denied]


def node_findings(nodes: Sequence[Manifest], catalog: Catalog) -> list[Finding]:
    """Which accelerators planning sees, and devices that it cannot name."""
    offers = inventory_from_nodes(nodes, catalog).offers
    shapes = sorted({f"{offer.count}x {offer.accelerator}" for offer in offers if offer.accelerator})
    seen = ", ".join(shapes) or "none: only CPU variants can be served"
    findings = [Finding(Level.OK if shapes else Level.NOTE, "accelerators", seen)]
    silent = [_name(node) for node in nodes if _claims_gpu(node) and not inventory_of(node, catalog)]
    if silent:
        findings.append(
            Finding(
                Level.BAD,
                "accelerators",
                f"{', '.join(silent[:5])}: labelled as GPU nodes, but no nvidia.com/gpu is allocatable or the"
                " product label is not in the catalogue. Is the driver and its device plugin running?",
            )
        )
    return findings


def driver_findings(nodes: Sequence[Manifest], catalog: Catalog) -> list[Finding]:
    """Nodes whose NVIDIA driver, as feature discovery labels it, is older than what an image asks for."""
    drivers = {_name(node): driver for node in nodes if (driver := _driver(node))}
    wanted = [row for row in catalog.engines if row.default and row.minimum_driver]
    return [
        Finding(
            Level.NOTE,
            "driver",
            f"{name} has {driver}; image {row.tag} asks for {row.minimum_driver}: update it, or rely on the "
            "compatibility libraries of the image, which data-centre accelerators alone can use",
        )
        for name, driver in sorted(drivers.items())
        for row in wanted
        if version_tuple(driver) < version_tuple(row.minimum_driver or "")
    ]


def _driver(node: Manifest) -> str | None:
    """Such as `550.54.15`; None where nothing tells."""
    labels = node["metadata"].get("labels") or {}
    parts = [labels.get(f"nvidia.com/cuda.driver.{part}") for part in ("major", "minor", "rev")]
    return labels.get(DRIVER_LABEL) or ".".join(filter(None, parts)) or None


def inventory_of(node: Manifest, catalog: Catalog) -> bool:
    """Whether planning sees an accelerator on this node."""
    return any(offer.accelerator for offer in inventory_from_nodes([node], catalog).offers)


def back_end_findings(groups: Iterable[str]) -> list[Finding]:
    """What autoscaling and monitoring could build on."""
    served = set(groups)
    return [
        Finding(Level.OK if group in served else Level.NOTE, group, f"{purpose}: {_is(group in served)}")
        for group, purpose in BACK_ENDS.items()
    ]


def storage_findings(classes: Sequence[Manifest]) -> list[Finding]:
    """Storage classes for weight caches."""
    if not classes:
        return [Finding(Level.NOTE, "storage", "no StorageClass: `cache` needs a claimName")]
    names = ", ".join(
        f"{_name(found)}{' (default)' if _is_default(found) else ''}" for found in sorted(classes, key=_name)
    )
    if not any(map(_is_default, classes)):
        return [Finding(Level.NOTE, "storage", f"{names}; none is the default: name cache.storageClassName")]
    return [Finding(Level.OK, "storage", names)]


def secret_findings(resources: Sequence[Manifest], present: Iterable[tuple[str, str]]) -> list[Finding]:
    """Secrets that GemmaDeployments name and that do not exist. `present`: (namespace, name)."""
    there = set(present)
    wanted = {
        (resource["metadata"]["namespace"], name, resource["metadata"]["name"])
        for resource in resources
        for name in secrets_named(resource.get("spec") or {})
    }
    missing = sorted(found for found in wanted if found[:2] not in there)
    if not missing:
        return [Finding(Level.OK, "secrets", f"all {len(wanted)} that are named exist")]
    return [
        Finding(Level.BAD, "secrets", f"{namespace}/{name}, which {user} names, does not exist")
        for namespace, name, user in missing
    ]


def secrets_named(spec: Manifest) -> list[str]:
    """Names of Secrets anywhere in a spec: fields that end in `SecretRef`."""
    found: list[str] = []
    for field, value in spec.items():
        if field.endswith("SecretRef") and isinstance(value, dict):
            found.append(str(value.get("name")))
        elif isinstance(value, dict):
            found += secrets_named(value)
        elif isinstance(value, list):
            found += [name for item in value if isinstance(item, dict) for name in secrets_named(item)]
    return found


def pod_findings(pods: Sequence[Manifest]) -> list[Finding]:
    """What keeps pods from running, image pulls first of all."""
    troubles = [(pod, trouble) for pod in pods if (trouble := trouble_of(pod, "weights", None)) is not None]
    if not troubles:
        return [Finding(Level.OK, "pods", f"no trouble with any of {len(pods)}")]
    return [
        Finding(
            Level.BAD,
            "pods",
            f"{pod['metadata']['namespace']}/{_name(pod)}: {trouble.reason.value}: {trouble.message}",
        )
        for pod, trouble in troubles
    ]


def _claims_gpu(node: Manifest) -> bool:
    labels = node["metadata"].get("labels") or {}
    return "nvidia.com/gpu.product" in labels or "cloud.google.com/gke-accelerator" in labels


def _is_default(found: Manifest) -> bool:
    return (found["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"


def _is(served: bool) -> str:
    return "served" if served else "not served"


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])
