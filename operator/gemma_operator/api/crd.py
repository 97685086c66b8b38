"""The CustomResourceDefinition, generated from the pydantic types: structural and deterministic."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from gemma_operator.api.base import GROUP, KIND, PLURAL, VERSION
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, GemmaDeploymentStatus

Schema = dict[str, Any]

CRD_NAME = f"{PLURAL}.{GROUP}"
CRD_FILE = f"crds/{GROUP}_{PLURAL}.yaml"
CHART_FILE = "charts/gemma-operator/templates/crd.yaml"
_GENERATED = "generated from operator/gemma_operator/api/v1alpha1 by `make generate`; do not edit"

_DROPPED = frozenset({"title", "examples", "$defs", "default", "additionalProperties"})
"""What a structural schema must not or need not hold. Defaults are applied in memory: written into every
stored object they would show as drift to GitOps tools and freeze yesterday's choice."""

NAME_RULE = {
    "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
    "message": "metadata.name names a Service: at most 63 of a-z, 0-9 and -, beginning with a letter",
}

PRINTER_COLUMNS = (
    ("Variant", ".spec.model.variant", 0),
    ("Engine", ".status.plan.engine", 0),
    ("Accelerator", ".status.accelerator", 0),
    ("Ready", ".status.ready", 0),
    ("Status", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("URL", ".status.url", 1),
    ("Message", '.status.conditions[?(@.type=="Ready")].message', 1),
)
"""Name, path, priority; priority 1 is shown by `kubectl get -o wide`."""


class SchemaError(TypeError):
    """A type has no structural schema; the text names the place."""


def crd_manifest() -> Schema:
    """The CRD as plain data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["gemma", "gd"],
                "categories": ["gemma"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [*map(_column, PRINTER_COLUMNS), _AGE],
                    "schema": {"openAPIV3Schema": _root_schema()},
                }
            ],
        },
    }


def crd_yaml() -> str:
    """The CRD as it lies in `crds/`."""
    return f"# {_GENERATED}\n{_dump(crd_manifest())}"


def chart_yaml() -> str:
    """The same CRD behind the chart's guard. The schema holds no template syntax."""
    body = _dump(crd_manifest())
    if "{{" in body:
        raise SchemaError("the CRD holds '{{', which Helm would take for a template")
    keep = (
        f"  name: {CRD_NAME}\n"
        '  labels: {{- include "gemma.labels" . | nindent 4 }}\n'
        "  {{- if .Values.crds.keep }}\n"
        "  annotations:\n"
        "    helm.sh/resource-policy: keep\n"
        "  {{- end }}\n"
    )
    guarded = body.replace(f"  name: {CRD_NAME}\n", keep, 1)
    return f"{{{{- /* {_GENERATED} */ -}}}}\n{{{{- if .Values.crds.enabled }}}}\n{guarded}{{{{- end }}}}\n"


def structural_schema(model: type[BaseModel]) -> Schema:
    """The OpenAPI v3 schema of one model as the API server accepts it. Raises SchemaError."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(raw, raw.get("$defs", {}), model.__name__)


_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _column(column: tuple[str, str, int]) -> Schema:
    name, path, priority = column
    described: Schema = {"name": name, "type": "string", "jsonPath": path}
    if priority:
        described["priority"] = priority
    return described


def _root_schema() -> Schema:
    spec = structural_schema(GemmaDeploymentSpec)
    # The one stored default: the scale subresource reads an absent field as 0, and autoscalers leave 0 alone.
    spec["properties"]["replicas"]["default"] = GemmaDeploymentSpec.model_fields["replicas"].default
    return {
        "type": "object",
        "description": "An endpoint that serves one Gemma model through an OpenAI-compatible API.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"`{GROUP}/{VERSION}`."},
            "kind": {"type": "string", "description": f"`{KIND}`."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": structural_schema(GemmaDeploymentStatus),
        },
        "x-kubernetes-validations": [NAME_RULE],
    }


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any], place: str) -> Schema:
    node = _resolved(node, definitions, place)
    if "x-kubernetes-int-or-string" in node:
        return {key: value for key, value in node.items() if key not in _DROPPED}
    schema = {key: value for key, value in node.items() if key not in _DROPPED}
    extra = node.get("additionalProperties")
    if isinstance(extra, dict):
        schema["additionalProperties"] = _structural(extra, definitions, f"{place}.*")
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in schema:  # a number in JSON Schema, a flag beside the bound in OpenAPI 3.0
            schema[limit], schema[bound] = schema[bound], True
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "properties" in schema:
        schema["properties"] = {
            name: _structural(child, definitions, f"{place}.{name}")
            for name, child in node["properties"].items()
        }
    if "items" in schema:
        schema["items"] = _structural(schema["items"], definitions, f"{place}[]")
    if "type" not in schema:
        raise SchemaError(f"{place}: no single type: {sorted(schema)}")
    return schema


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Inline references and optional types; what the field itself says wins over what its type says."""
    if "x-kubernetes-int-or-string" in node:
        return node
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) > 1:
        raise SchemaError(f"{place}: a union of {len(options)} types has no structural schema")
    reference = options[0] if options else node
    own = {key: value for key, value in node.items() if key not in ("anyOf", "$ref")}
    if "$ref" in reference:
        target = definitions[reference["$ref"].removeprefix("#/$defs/")]
        return _resolved({**target, **own}, definitions, place)
    if options:
        return _resolved({**reference, **own}, definitions, place)
    return node


class _Dumper(yaml.SafeDumper):
    """Without anchors: the API server does not mind them, readers do."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out."""
        return True


def _dump(manifest: Schema) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
