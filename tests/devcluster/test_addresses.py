"""Addresses and names that clusters do not share."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_devcluster.addresses import MAX_CLUSTERS, Addresses, first_free_index
from gemma_devcluster.errors import DevclusterError

LONGEST_INTERFACE_NAME = 15
indexes = st.integers(min_value=0, max_value=MAX_CLUSTERS - 1)


@given(indexes)
def test_link_pods_and_services_are_apart_within_the_cluster_network(index: int) -> None:
    addresses = Addresses(index)
    parts = [addresses.link, addresses.pods, addresses.services]
    assert all(part.subnet_of(addresses.network) for part in parts)
    assert not any(one.overlaps(other) for one, other in combinations(parts, 2))


@given(indexes, indexes)
def test_two_clusters_share_no_address_and_no_link(one: int, other: int) -> None:
    if one != other:
        assert not Addresses(one).network.overlaps(Addresses(other).network)
        assert Addresses(one).host_link != Addresses(other).host_link


@given(indexes)
def test_every_single_address_lies_where_it_belongs(index: int) -> None:
    addresses = Addresses(index)
    assert addresses.host in addresses.link.hosts()
    assert addresses.machine in addresses.link.hosts()
    assert addresses.host != addresses.machine
    assert addresses.api_service in addresses.services
    assert addresses.dns_service in addresses.services
    assert len(addresses.host_link) <= LONGEST_INTERFACE_NAME


@given(st.sets(indexes))
def test_the_first_free_index_is_the_smallest_that_is_free(taken: set[int]) -> None:
    if len(taken) < MAX_CLUSTERS:
        index = first_free_index(taken, [])
        assert index not in taken
        assert set(range(index)) <= taken


def test_a_network_that_this_machine_routes_elsewhere_is_passed_over() -> None:
    vpn = Addresses(1).pods
    assert first_free_index([0], [vpn]) == 2


def test_when_all_are_taken_the_error_says_what_to_do() -> None:
    with pytest.raises(DevclusterError, match="devcluster down"):
        first_free_index(range(MAX_CLUSTERS), [])
