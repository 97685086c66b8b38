"""The laws of a rollout: it never deadlocks, never flaps, and gives up no serving pod without a reason."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.v1alpha1 import Strategy
from gemma_operator.resources.rollout import (
    GROWTH_SECONDS,
    IN_PLACE,
    SURGE,
    SURGE_OVER_BROKEN,
    Pace,
    Replacement,
    decide,
)
from gemma_operator.resources.room import Room, Space

PACES = st.sampled_from([SURGE, IN_PLACE, SURGE_OVER_BROKEN])
ROOMS = st.sampled_from([Room(space, f"there is room: {space}") for space in Space])
REPLACEMENTS = st.builds(
    Replacement,
    strategy=st.sampled_from(Strategy),
    serving=st.integers(0, 3),
    pace=st.none() | PACES,
    is_new=st.booleans(),
    is_replacing=st.booleans(),
    obstacle=st.none() | st.just("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
    waited_seconds=st.floats(0, 2 * GROWTH_SECONDS),
).filter(lambda replacement: replacement.pace is not None or not replacement.is_new)
ROLLING = REPLACEMENTS.filter(lambda r: r.pace is not None and (r.is_new or r.is_replacing))


def pace(replacement: Replacement, room: Room) -> Pace:
    return decide(replacement, lambda: room).pace


@given(REPLACEMENTS, ROOMS)
def test_every_pace_is_one_that_kubernetes_takes(replacement: Replacement, room: Room) -> None:
    chosen = pace(replacement, room)
    assert chosen.max_surge + chosen.max_unavailable > 0


@given(ROLLING, ROOMS)
def test_with_nothing_serving_no_broken_pod_is_kept(replacement: Replacement, room: Room) -> None:
    assert pace(replace(replacement, serving=0), room).max_unavailable == 1


@given(ROLLING, ROOMS)
def test_auto_goes_on_in_place_where_a_new_pod_has_no_room(replacement: Replacement, room: Room) -> None:
    stuck = replace(
        replacement,
        strategy=Strategy.AUTO,
        is_new=False,
        is_replacing=True,
        obstacle="0/1 nodes are available",
        waited_seconds=GROWTH_SECONDS if room.space is Space.GROWABLE else replacement.waited_seconds,
    )
    assert pace(stuck, room) == IN_PLACE


@given(ROLLING, ROOMS)
def test_auto_brings_no_second_pod_to_a_claim_that_one_node_can_mount(
    replacement: Replacement, room: Room
) -> None:
    begins = replace(replacement, strategy=Strategy.AUTO, is_new=True, claim="assistant-weights")
    assert pace(begins, room) == IN_PLACE


@given(ROLLING, ROOMS)
def test_what_waits_for_an_autoscaler_is_looked_at_again(replacement: Replacement, room: Room) -> None:
    decision = decide(replacement, lambda: room)
    is_waiting = (
        replacement.strategy is Strategy.AUTO
        and decision.pace == SURGE
        and replacement.obstacle is not None
        and not replacement.is_new
    )
    assert (decision.look_again_seconds is not None) == is_waiting


@given(ROLLING, st.lists(st.tuples(st.integers(0, 3), ROOMS, st.booleans()), max_size=8))
def test_within_one_rollout_the_pace_changes_at_most_once(
    replacement: Replacement, looks: list[tuple[int, Room, bool]]
) -> None:
    current = replace(replacement, is_new=True)
    paces = [pace(current, Room(Space.FREE, "node a has room"))]
    for serving, room, is_stuck in looks:
        current = replace(
            current,
            pace=paces[-1],
            serving=serving,
            is_new=False,
            is_replacing=True,
            obstacle="no room" if is_stuck else None,
        )
        paces.append(pace(current, room))
    assert sum(before != after for before, after in pairwise(paces)) <= 1


@given(REPLACEMENTS, ROOMS)
def test_at_rest_nothing_is_written_for_the_room_there_is(replacement: Replacement, room: Room) -> None:
    resting = replace(
        replacement, strategy=Strategy.AUTO, pace=replacement.pace or SURGE, is_new=False, is_replacing=False
    )
    assert pace(resting, room) == resting.pace


@given(ROLLING, ROOMS)
def test_what_serves_is_given_up_only_for_lack_of_room_or_on_request(
    replacement: Replacement, room: Room
) -> None:
    begins = replace(replacement, is_new=True, serving=max(1, replacement.serving))
    given_up = pace(begins, room).max_unavailable > 0
    allowed = begins.strategy is Strategy.RECREATE or (
        begins.strategy is Strategy.AUTO and room.space is Space.FULL
    )
    assert given_up == allowed
