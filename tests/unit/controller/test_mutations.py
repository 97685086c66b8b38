"""Edits of every field: the end depends on the last spec alone, and a bad one costs no pod."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_operator.api.crd import crd_manifest
from gemma_operator.api.manifest import Manifest
from gemma_operator.controller.drift import APPLIED_HASH_ANNOTATION
from support.corridor import KEY, SPEC, Corridor

RECORD = "ConfigMap/assistant-last-good"
MISSING = object()
WRONG: dict[str, list[Any]] = {
    "string": [7, True, {}, [], ""],
    "integer": ["seven", -1, 10**12, 1.5, {}],
    "number": ["fast", -1, {}],
    "boolean": ["yes", 7, {}],
    "array": ["one", 7, {}],
    "object": ["one", 7, []],
}
"""What a field of a type cannot hold, or holds at its edges: whether it is refused, the operator says."""


def fields(schema: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every field of the spec, as path and type; what lists hold belongs to the list."""
    for name, below in schema.get("properties", {}).items():
        yield (*path, name), below.get("type", "string")
        yield from fields(below, (*path, name))


SPEC_SCHEMA = crd_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
FIELDS = list(fields(SPEC_SCHEMA))
MUTATIONS = [
    (path, value) for path, kind in FIELDS if path[0] != "cache" for value in (MISSING, *WRONG[kind])
]
"""Without the cache: with one, what serves stays until a Job has run, which here none does."""


def mutated(spec: Manifest, path: tuple[str, ...], value: Any) -> Manifest:
    """The spec with one field set, or taken away. Groups on the way are made where they are missing."""
    changed = deepcopy(spec)
    place: Any = changed
    for name in path[:-1]:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    if value is MISSING:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = deepcopy(value)
    return changed


def essence(corridor: Corridor) -> Manifest:
    """What was made, without what tells when and how: uids, versions, the record, the pace of a rollout."""
    return {
        name: _parts(child) | {"labels": child["metadata"].get("labels"), "annotations": _annotations(child)}
        for name, child in corridor.children().items()
        if name != RECORD
    }


def _parts(child: Manifest) -> Manifest:
    parts = {part: value for part, value in child.items() if part not in ("metadata", "status")}
    if child["kind"] == "Deployment":
        parts["spec"] = {name: value for name, value in child["spec"].items() if name != "strategy"}
    return parts


def _annotations(child: Manifest) -> Manifest:
    told = child["metadata"].get("annotations") or {}
    return {name: value for name, value in told.items() if name != APPLIED_HASH_ANNOTATION}


async def reached(*specs: Manifest) -> Corridor:
    corridor = Corridor()
    for spec in specs:
        corridor.user_applies(deepcopy(spec))
        await corridor.settle()
    return corridor


@pytest.mark.parametrize("kind", sorted({kind for _, kind in FIELDS}))
def test_every_type_of_the_schema_has_values_that_are_wrong(kind: str) -> None:
    assert WRONG[kind]


@pytest.mark.parametrize("number", range(len(FIELDS)), ids=[".".join(path) for path, _ in FIELDS])
async def test_a_bad_edit_takes_no_pod_away_and_a_good_one_after_it_is_as_if_it_never_was(
    number: int,
) -> None:
    path, kind = FIELDS[number]
    good = await reached(SPEC)
    wanted = essence(good)
    for value in (MISSING, *WRONG[kind]):
        good.user_applies(mutated(SPEC, path, value))
        await good.settle()
        assert "Deployment/assistant" in good.children(), (path, value)
        if good.condition("Planned")["status"] == "False":
            assert essence(good) == wanted, (path, value)
        good.user_applies(deepcopy(SPEC))
        await good.settle()
        assert essence(good) == wanted, (path, value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(MUTATIONS), min_size=3, max_size=3))
@example(
    [(("engine", "arguments"), MISSING), (("hardware",), MISSING), (("media", "fetchUrls"), True)],
)
async def test_three_edits_end_where_creating_the_last_spec_ends(
    edits: list[tuple[tuple[str, ...], Any]],
) -> None:
    specs = [SPEC]
    for path, value in edits:
        specs.append(mutated(specs[-1], path, value))
    corridor, afresh = await reached(*specs), await reached(specs[-1])
    if afresh.condition("Planned")["status"] == "True":
        assert essence(corridor) == essence(afresh)
        assert corridor.api.objects[KEY]["status"]["plan"] == afresh.api.objects[KEY]["status"]["plan"]
