import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.quantity import (
    QuantityError,
    format_bytes,
    format_millicores,
    gib,
    parse_bytes,
    parse_millicores,
)

AMOUNTS = st.integers(min_value=0, max_value=2**60)


@given(AMOUNTS)
def test_bytes_survive_formatting(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == count


@given(AMOUNTS)
def test_millicores_survive_formatting(count: int) -> None:
    assert parse_millicores(format_millicores(count)) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("8Gi", 8 * 2**30),
        ("1.5Gi", 3 * 2**29),
        ("500M", 500 * 10**6),
        ("2e3", 2000),
        (7, 7),
        ("100m", 1),
        ("0.5", 1),
    ],
)
def test_bytes_are_whole_and_rounded_up(text: str | int, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(("text", "count"), [("4", 4000), ("500m", 500), ("0.25", 250), ("1u", 1), (2, 2000)])
def test_cores_are_read_as_thousandths(text: str | int, count: int) -> None:
    assert parse_millicores(text) == count


@pytest.mark.parametrize("text", ["", "Gi", "8GiB", "-1", "1 Gi", "8gi", "1e"])
def test_what_is_not_a_quantity_is_quoted_in_the_error(text: str) -> None:
    with pytest.raises(QuantityError, match=r"is not a quantity|has no known unit") as error:
        parse_bytes(text)
    assert repr(text) in str(error.value)


def test_people_read_gib_with_two_decimals() -> None:
    assert gib(8_000_000_000) == "7.45"
