"""BOS and stop tokens of the families."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_serving.engines.families import BOS_ID, BOS_TEXT, FAMILIES, family, with_one_bos, without_bos


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_stops_at_the_end_of_a_turn(name: str) -> None:
    """FO-21: by text, which each tokenizer turns into its own id: 107 is a newline in Gemma 3."""
    turn_end = "<turn|>" if name == "gemma4" else "<end_of_turn>"
    assert {turn_end, "<eos>"} <= set(family(name).stop_tokens)


def test_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'gemma9'; known: .*gemma4"):
        family("gemma9")


@given(st.lists(st.integers(0, 9), max_size=12))
def test_ids_get_exactly_one_bos(ids: list[int]) -> None:
    fixed = with_one_bos(ids)
    assert fixed[0] == BOS_ID
    assert fixed[1:2] != [BOS_ID]
    assert with_one_bos(fixed) == fixed


@given(st.integers(0, 3), st.text(max_size=9))
def test_text_loses_every_leading_bos_and_nothing_else(count: int, text: str) -> None:
    assert without_bos(BOS_TEXT * count + text) == without_bos(text)
    assert without_bos("a" + BOS_TEXT) == "a" + BOS_TEXT
