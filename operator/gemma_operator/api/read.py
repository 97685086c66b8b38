"""Reading a GemmaDeployment: from a manifest to a spec, with an error that names field and reason."""

from pydantic import ValidationError

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import Manifest
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec


class SpecError(ValueError):
    """The spec does not match the schema; the text names each field with its reason."""


def read_spec(resource: Manifest, *, strict: bool = False) -> GemmaDeploymentSpec:
    """The spec of a resource. Raises SpecError.

    From a cluster, fields of a newer CRD are ignored; strict reading (of files) refuses them: there an
    unknown field is a misspelt one.
    """
    if (resource.get("apiVersion"), resource.get("kind")) != (API_VERSION, KIND):
        found = f"{resource.get('apiVersion')} {resource.get('kind')}"
        raise SpecError(f"expected {API_VERSION} {KIND}, found {found}")
    try:
        return GemmaDeploymentSpec.model_validate(
            resource.get("spec") or {}, extra="forbid" if strict else "ignore"
        )
    except ValidationError as error:
        raise SpecError(
            "; ".join(_problem(details) for details in error.errors(include_url=False))
        ) from error


def _problem(details: object) -> str:
    assert isinstance(details, dict)
    field = ".".join(("spec", *(str(part) for part in details["loc"])))
    if details["type"] == "extra_forbidden":
        return f"{field}: there is no such field"
    if details["type"] == "missing":
        return f"{field}: is required"
    found = "" if isinstance(details["input"], dict) else f" (found {details['input']!r})"
    return f"{field}: {details['msg'].removeprefix('Value error, ')}{found}"
