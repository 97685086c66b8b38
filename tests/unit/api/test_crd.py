from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field

from gemma_operator.api.base import ApiModel
from gemma_operator.api.crd import SchemaError, chart_yaml, crd_manifest, crd_yaml, structural_schema
from gemma_operator.api.reasons import Reason
from gemma_operator.cli.crd import documented_reasons, generated_files

ROOT = Path(__file__).resolve().parents[3]


def version() -> dict[str, Any]:
    (only,) = crd_manifest()["spec"]["versions"]
    return dict(only)


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def spec_and_status() -> list[tuple[str, dict[str, Any]]]:
    properties = version()["schema"]["openAPIV3Schema"]["properties"]
    return [*nodes(properties["spec"], "spec"), *nodes(properties["status"], "status")]


@pytest.mark.parametrize("name", generated_files())
def test_generated_files_are_fresh(name: str) -> None:
    assert (ROOT / name).read_text() == generated_files()[name], "run `make generate`"


def test_generation_is_deterministic() -> None:
    assert crd_yaml() == crd_yaml()


def test_every_string_and_list_is_bounded() -> None:
    unbounded = [
        path
        for path, node in spec_and_status()
        if (node.get("type") == "string" and not {"maxLength", "enum"} & node.keys())
        or (node.get("type") == "array" and "maxItems" not in node)
        or ("x-kubernetes-int-or-string" in node and "maxLength" not in node)
    ]
    assert unbounded == []


def test_every_number_has_a_least_value() -> None:
    open_ended = [
        p for p, node in spec_and_status() if node.get("type") == "integer" and "minimum" not in node
    ]
    assert open_ended == []


def test_every_field_explains_itself() -> None:
    assert [
        path for path, node in spec_and_status() if not path.endswith("[]") and not node.get("description")
    ] == []


def test_the_schema_holds_nothing_that_a_structural_schema_may_not() -> None:
    forbidden = {"$ref", "$defs", "title", "oneOf", "allOf", "const"}
    assert [path for path, node in spec_and_status() if forbidden & node.keys()] == []
    open_objects = [path for path, node in spec_and_status() if "additionalProperties" in node]
    assert open_objects == ["spec.hardware.nodeSelector"], "a map of strings, as Kubernetes has it"


def test_replicas_is_the_only_stored_default() -> None:
    assert [path for path, node in spec_and_status() if "default" in node] == ["spec.replicas"]


def test_conditions_are_a_map_by_type() -> None:
    conditions = dict(spec_and_status())["status.conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_printer_columns_read_fields_that_exist() -> None:
    known = {f".{path}" for path, _ in spec_and_status()} | {".metadata.creationTimestamp"}
    columns = [column["jsonPath"].split("[")[0] for column in version()["additionalPrinterColumns"]]
    assert set(columns) <= known


def test_scale_reads_fields_that_exist() -> None:
    known = {f".{path}" for path, _ in spec_and_status()}
    assert set(version()["subresources"]["scale"].values()) <= known


def test_the_chart_carries_the_same_crd_behind_its_guards() -> None:
    lines = chart_yaml().splitlines()
    plain = [
        line
        for line in lines
        if "{{" not in line and "resource-policy" not in line and line != "  annotations:"
    ]
    assert yaml.safe_load("\n".join(plain)) == crd_manifest()
    assert "{{- if .Values.crds.enabled }}" in lines
    assert "  {{- if .Values.crds.keep }}" in lines


def test_every_reason_has_its_sentence() -> None:
    documented = [reason for pairs in documented_reasons().values() for reason, _ in pairs]
    assert documented == [reason.value for reason in Reason]
    assert list(documented_reasons()) == [
        "Planned",
        "WeightsReady",
        "PodsReady",
        "Ready",
        "UpToDate",
        "ScalingActive",
        "Any condition",
    ]


class Colour(StrEnum):
    RED = "Red"


class Leaf(ApiModel):
    """A leaf."""

    colour: Colour = Field(default=Colour.RED)


class Tree(ApiModel):
    """A tree."""

    leaf: Leaf | None = Field(default=None)
    """Of the tree."""
    leaves: list[Leaf] = Field(default=[], max_length=3)


class Odd(ApiModel):
    """Cannot be."""

    either: int | str


def test_references_and_optional_fields_are_written_out() -> None:
    schema = structural_schema(Tree)
    leaf = {"type": "object", "properties": {"colour": {"type": "string", "enum": ["Red"]}}}
    assert schema["properties"]["leaf"]["properties"] == schema["properties"]["leaves"]["items"]["properties"]
    assert schema["properties"]["leaf"]["description"] == "Of the tree."
    assert schema["properties"]["leaves"]["items"]["description"] == "A leaf."
    assert (
        schema["properties"]["leaf"]["properties"]["colour"]["enum"] == leaf["properties"]["colour"]["enum"]
    )
    assert "required" not in schema


def test_a_union_is_refused_with_its_place() -> None:
    with pytest.raises(SchemaError, match=r"Odd\.either: a union of 2 types"):
        structural_schema(Odd)
