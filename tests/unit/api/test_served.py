"""Which fields an API server would drop."""

from copy import deepcopy
from typing import Any

import pytest

from gemma_operator.api.crd import crd_manifest
from gemma_operator.api.served import unprotected, unserved_fields


def document() -> dict[str, Any]:
    """What the API server publishes for the CRD of this version."""
    schema = deepcopy(crd_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    kind = {"group": "serving.gemma-operator.dev", "kind": "GemmaDeployment", "version": "v1alpha1"}
    schema["x-kubernetes-group-version-kind"] = [kind]
    return {"components": {"schemas": {"some.other": {}, "the.one": schema}}}


def without(*path: str) -> dict[str, Any]:
    changed = document()
    place = changed["components"]["schemas"]["the.one"]
    for name in path[:-1]:
        place = place["items"] if name == "[]" else place["properties"][name]
    del place["properties"][path[-1]]
    return changed


def test_the_crd_of_this_version_drops_nothing() -> None:
    assert unserved_fields(document()) == ()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (("spec", "suspend"), "spec.suspend"),
        (("spec", "access", "limits", "tokensPerMinute"), "spec.access.limits.tokensPerMinute"),
        (("status", "conditions", "[]", "reason"), "status.conditions[].reason"),
    ],
)
def test_fo_31_a_dropped_field_is_named(path: tuple[str, ...], told: str) -> None:
    assert unserved_fields(without(*path)) == (told,)


def test_without_the_kind_everything_is_missing() -> None:
    assert unserved_fields({}) == ("spec", "status")


def test_limits_and_safety_are_what_must_not_be_dropped() -> None:
    fields = ("spec.access.limits", "spec.safety", "spec.suspend", "status.summary")
    assert unprotected(fields) == fields[:2]
