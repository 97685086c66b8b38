from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.merge import merge_patch
from support.api_double import merge_patched

VALUES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2) | st.lists(st.integers(0, 3), max_size=2),
    lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_patched_object_is_the_new_one(old: Manifest, new: Manifest) -> None:
    patched = deepcopy(old)
    merge_patched(patched, merge_patch(old, new))
    assert patched == new


@given(OBJECTS)
def test_nothing_changed_is_an_empty_patch(value: Manifest) -> None:
    assert merge_patch(value, value) == {}
