"""When a child has to be written: when it is not what the manifest says, and not because it says more."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.manifest import Manifest
from gemma_operator.controller.drift import APPLIED_HASH_ANNOTATION, holds, is_outdated, stamped

SERVICE: Manifest = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "assistant", "namespace": "team-a", "labels": {"app": "gemma"}},
    "spec": {"selector": {"app": "gemma"}, "ports": [{"name": "http", "port": 80, "targetPort": "api"}]},
}


def live(manifest: Manifest) -> Manifest:
    """As the API server would store it: with defaults and what it assigns."""
    stored = deepcopy(manifest)
    stored["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    stored["spec"] |= {"type": "ClusterIP", "clusterIP": "10.0.0.1"}
    stored["spec"]["ports"][0]["protocol"] = "TCP"
    return stored


def test_an_absent_object_is_outdated() -> None:
    assert is_outdated(stamped(SERVICE), None)


def test_defaults_and_assigned_values_are_no_drift() -> None:
    wanted = stamped(SERVICE)
    assert not is_outdated(wanted, live(wanted))


def test_labels_that_users_add_are_no_drift() -> None:
    wanted = stamped(SERVICE)
    observed = live(wanted)
    observed["metadata"]["labels"]["team"] = "blue"
    assert not is_outdated(wanted, observed)


def test_items_that_others_add_to_a_keyed_list_are_no_drift() -> None:
    wanted = stamped(SERVICE)
    observed = live(wanted)
    observed["spec"]["ports"].insert(0, {"name": "debug", "port": 81})
    assert not is_outdated(wanted, observed)


@pytest.mark.parametrize("path", [("metadata", "labels", "app"), ("spec", "selector", "app")])
def test_a_changed_or_removed_value_is_drift(path: tuple[str, str, str]) -> None:
    wanted = stamped(SERVICE)
    changed, removed = live(wanted), live(wanted)
    changed[path[0]][path[1]][path[2]] = "other"
    del removed[path[0]][path[1]][path[2]]
    assert is_outdated(wanted, changed)
    assert is_outdated(wanted, removed)


def test_a_field_that_is_no_longer_wanted_is_drift() -> None:
    before = stamped({**SERVICE, "spec": {**SERVICE["spec"], "sessionAffinity": "ClientIP"}})
    assert is_outdated(stamped(SERVICE), live(before))


def test_an_object_on_its_way_out_is_left_alone() -> None:
    wanted = stamped(SERVICE)
    observed = live(wanted)
    observed["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"
    observed["spec"]["selector"] = {}
    assert not is_outdated(wanted, observed)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"limits": {"memory": "1024Mi", "cpu": "0.5"}}, {"limits": {"memory": "1Gi", "cpu": "500m"}}),
        ({"sizeLimit": "65536Ki"}, {"sizeLimit": "64Mi"}),
        ({"emptyDir": {}, "readOnly": False, "args": []}, {}),
    ],
)
def test_what_the_api_server_writes_differently_is_no_drift(wanted: Any, found: Any) -> None:
    assert holds(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"limits": {"memory": "2Gi"}}, {"limits": {"memory": "1Gi"}}),
        ({"limits": {"memory": "2Gi"}}, {"limits": {}}),
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}),
        ({"args": ["a"]}, {"args": ["a", "b"]}),
        ({"value": "1"}, {"value": "1000m"}),
        ({"replicas": 0}, {"replicas": 3}),
        ({"selector": {"app": "gemma"}}, {"selector": {"app": "gemma", "tier": "other"}}),
    ],
)
def test_other_values_are_drift(wanted: Any, found: Any) -> None:
    assert not holds(wanted, found)


def test_the_stamp_changes_with_the_manifest_only() -> None:
    other = deepcopy(SERVICE)
    other["spec"]["ports"][0]["port"] = 81
    stamps = [
        stamped(each)["metadata"]["annotations"][APPLIED_HASH_ANNOTATION]
        for each in (SERVICE, SERVICE, other)
    ]
    assert stamps[0] == stamps[1] != stamps[2]
    assert "annotations" not in SERVICE["metadata"]


scalars = st.integers(1, 9) | st.sampled_from(["x", "y"])
trees = st.recursive(
    scalars, lambda below: st.dictionaries(st.sampled_from("abcd"), below, min_size=1, max_size=3)
)


@given(trees)
def test_whatever_is_wanted_holds_of_itself(tree: Any) -> None:
    assert holds(tree, deepcopy(tree))


@given(st.dictionaries(st.sampled_from("abcd"), trees, min_size=1, max_size=3), st.data())
def test_no_changed_leaf_is_overlooked(tree: dict[str, Any], data: st.DataObject) -> None:
    changed = deepcopy(tree)
    node: Any = changed
    while True:
        name = data.draw(st.sampled_from(sorted(node)))
        if not isinstance(node[name], dict):
            node[name] = "changed"
            break
        node = node[name]
    assert not holds(tree, changed)
