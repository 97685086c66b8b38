"""Whether the schema that an API server serves has every field that this version writes and reads. Pure.

An older CustomResourceDefinition drops what it does not know, silently: a limit somebody wrote is not there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gemma_operator.api.base import KIND, VERSION
from gemma_operator.api.crd import crd_manifest

Schema = Mapping[str, Any]

OPENAPI_PATH = "/openapi/v3/apis"
"""With group and version below it, every authenticated user may read it."""
PROTECTIVE = ("spec.access", "spec.safety")
"""Without these fields a resource would be served with less protection than its author asked for."""


def unserved_fields(document: Schema) -> tuple[str, ...]:
    """Paths of fields that the OpenAPI v3 document of the API group lacks, in order."""
    served = _served(document)
    needed = crd_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return tuple(path for part in ("spec", "status") for path in _missing(part, needed, served))


def unprotected(missing: Sequence[str]) -> tuple[str, ...]:
    """Those of them whose absence would lift a protection."""
    return tuple(path for path in missing if path.startswith(PROTECTIVE))


def _served(document: Schema) -> Schema:
    schemas = document.get("components", {}).get("schemas", {})
    for schema in schemas.values():
        kinds = schema.get("x-kubernetes-group-version-kind") or ()
        if any((kind.get("kind"), kind.get("version")) == (KIND, VERSION) for kind in kinds):
            found: Schema = schema
            return found
    return {}


def _missing(name: str, needed: Schema, served: Schema, prefix: str = "") -> Iterator[str]:
    path = f"{prefix}{name}"
    wanted, there = needed["properties"][name], (served.get("properties") or {}).get(name)
    if there is None:
        yield path
        return
    while wanted.get("type") == "array" and there.get("type") == "array":
        wanted, there, path = wanted["items"], there["items"], f"{path}[]"
    for below in wanted.get("properties", ()):
        yield from _missing(below, wanted, there, f"{path}.")
