"""The base of every API type: camelCase on the wire, snake_case in Python, unknown fields survive reading."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "serving.gemma-operator.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "GemmaDeployment"
PLURAL = "gemmadeployments"

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
"""The subset of Kubernetes quantities that a CPU or memory request needs (no exponents, no sign)."""


class ApiModel(BaseModel):
    """Frozen value of the API. Reading ignores fields of a newer CRD; the offline CLI forbids them."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Schema extra that puts CEL validation rules, given as (rule, message), beside the model they guard."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


DnsName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""Name of a Kubernetes object (RFC 1123 subdomain)."""

Quantity = Annotated[
    str,
    BeforeValidator(_as_text),
    StringConstraints(max_length=32, pattern=QUANTITY_PATTERN),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": QUANTITY_PATTERN,
            "maxLength": 32,
        }
    ),
]
"""Kubernetes resource quantity, written `4`, `500m` or `8Gi`."""
