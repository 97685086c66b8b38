import re

from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.manifest import (
    SERVING,
    WEIGHTS,
    Owner,
    content_hash,
    endpoint_url,
    is_controlled_by,
    labels_for,
    object_key,
    owner_of,
    selector_labels,
    short_name,
)
from support.plans import OWNER

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
OBJECT_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", fullmatch=True).filter(
    lambda n: len(n) <= 253
)


@given(st.lists(OBJECT_NAMES, min_size=1, max_size=3))
def test_every_short_name_is_a_dns_label(parts: list[str]) -> None:
    name = short_name(*parts)
    assert len(name) <= 63
    assert DNS_LABEL.fullmatch(name)


@given(OBJECT_NAMES, OBJECT_NAMES)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (short_name(one) == short_name(other)) == (one == other)


def test_a_name_that_fits_is_left_alone() -> None:
    assert short_name("assistant", "runtime") == "assistant-runtime"


def test_a_long_name_keeps_its_beginning_and_ends_in_a_hash() -> None:
    name = short_name("a" * 60, "runtime")
    assert name.startswith("a" * 54 + "-")
    assert len(name) == 63


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_equal_content_has_equal_hashes_whatever_the_order(content: dict[str, object]) -> None:
    assert content_hash(dict(reversed(content.items()))) == content_hash(content)


def test_an_owner_is_read_off_its_manifest() -> None:
    metadata = {"name": "assistant", "namespace": "team-a", "uid": "uid-assistant", "generation": 3}
    assert owner_of({"metadata": metadata}) == OWNER


def test_a_controller_is_told_from_any_other_owner() -> None:
    reference = OWNER.owner_reference()
    child = {"kind": "Pod", "metadata": {"name": "x", "ownerReferences": [reference]}}
    bystander = {
        "kind": "Pod",
        "metadata": {"name": "x", "ownerReferences": [{**reference, "controller": False}]},
    }
    assert is_controlled_by(child, OWNER.uid)
    assert not is_controlled_by(child, "another")
    assert not is_controlled_by(bystander, OWNER.uid)
    assert not is_controlled_by({"kind": "Pod", "metadata": {"name": "x"}}, OWNER.uid)


def test_serving_and_weights_pods_are_selected_apart() -> None:
    serving, weights = selector_labels(OWNER, SERVING), selector_labels(OWNER, WEIGHTS)
    assert serving.keys() == weights.keys()
    assert serving != weights
    assert serving.items() <= labels_for(OWNER, SERVING).items()


def test_label_values_fit_whatever_the_name() -> None:
    owner = Owner(name="a.b" * 70, namespace="n", uid="u", generation=1)
    assert all(len(value) <= 63 for value in labels_for(owner, SERVING).values())


def test_a_key_names_kind_and_place() -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}}
    assert str(object_key(manifest)) == "Service n/s"


def test_the_url_ends_where_openai_clients_expect() -> None:
    assert endpoint_url(OWNER) == "http://assistant.team-a.svc/v1"
