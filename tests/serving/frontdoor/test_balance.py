"""Laws of choosing a replica."""

from hypothesis import given
from hypothesis import strategies as st

from gemma_serving.frontdoor.balance import Balance

ADDRESSES = st.sets(st.integers(1, 9).map(lambda n: f"10.0.0.{n}:8080"), min_size=1, max_size=6)


@given(ADDRESSES, st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=200))
def test_affinity_never_overloads_a_replica(addresses: set[str], prefixes: list[str]) -> None:
    balance = Balance()
    for prefix in prefixes:
        chosen = balance.choose(addresses, prefix, 0.0)
        assert chosen is not None
        balance.began(chosen)
    most = max(balance.open_at(address) for address in addresses)
    assert most <= 1.25 * (len(prefixes) / len(addresses)) + 2


@given(ADDRESSES, st.text(min_size=1))
def test_one_beginning_meets_one_replica_while_nothing_is_busy(addresses: set[str], prefix: str) -> None:
    balance = Balance()
    assert len({balance.choose(addresses, prefix, 0.0) for _ in range(5)}) == 1


@given(ADDRESSES, st.text(min_size=1))
def test_a_replica_that_goes_moves_only_its_own_requests(addresses: set[str], prefix: str) -> None:
    balance = Balance()
    chosen = balance.choose(addresses, prefix, 0.0)
    for gone in addresses - {chosen}:
        assert balance.choose(addresses - {gone}, prefix, 0.0) == chosen


def test_a_failed_replica_is_tried_again_after_a_pause_that_grows() -> None:
    balance = Balance()
    both = ["10.0.0.1:8080", "10.0.0.2:8080"]
    for now in (0.0, 0.5, 1.5):
        balance.failed(both[0], now)
    assert balance.choose(both, "", 3.4) == both[1]
    balance.began(both[1])
    assert balance.choose(both, "", 3.6) == both[0]
    balance.answered(both[0])
    balance.failed(both[0], 4.0)
    assert balance.choose(both, "", 4.6) == both[0]


def test_requests_that_fail_together_are_one_failure() -> None:
    balance = Balance()
    both = ["10.0.0.1:8080", "10.0.0.2:8080"]
    for _ in range(64):
        balance.failed(both[0], 0.0)
    balance.began(both[1])
    assert balance.choose(both, "", 0.6) == both[0]


def test_where_all_have_failed_one_is_tried_all_the_same() -> None:
    balance = Balance()
    balance.failed("10.0.0.1:8080", 0.0)
    assert balance.choose(["10.0.0.1:8080"], "", 0.1) == "10.0.0.1:8080"
    assert balance.choose([], "", 0.1) is None
