"""The order of work: one worker for each key, no key lost, none before its time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.manifest import ObjectKey
from gemma_operator.controller.queue import LONGEST_RETRY_SECONDS, Schedule, WorkQueue, retry_seconds


def key(name: str) -> ObjectKey:
    return ObjectKey("v1", "GemmaDeployment", "team-a", name)


A, B, C = key("a"), key("b"), key("c")


def taken(schedule: Schedule, now: float) -> ObjectKey | None:
    found = schedule.take(now)
    return None if found is None else found[0]


def test_many_reasons_make_one_look() -> None:
    schedule = Schedule()
    for _ in range(5):
        schedule.add(A, at=1.0)
    assert taken(schedule, 1.0) == A
    schedule.done(A)
    assert taken(schedule, 1.0) is None


def test_keys_come_in_the_order_of_their_times() -> None:
    schedule = Schedule()
    schedule.add(A, at=2.0)
    schedule.add(B, at=1.0)
    assert [taken(schedule, 2.0), taken(schedule, 2.0)] == [B, A]


def test_a_key_does_not_come_before_its_time() -> None:
    schedule = Schedule()
    schedule.add(A, at=5.0)
    assert taken(schedule, 4.9) is None
    assert schedule.next_time() == 5.0
    assert taken(schedule, 5.0) == A


def test_an_earlier_time_replaces_a_later_one_and_not_the_reverse() -> None:
    schedule = Schedule()
    schedule.add(A, at=600.0)
    schedule.add(A, at=1.0)
    schedule.add(A, at=300.0)
    assert taken(schedule, 1.0) == A
    schedule.done(A)
    assert schedule.next_time() is None


def test_a_busy_key_has_one_worker_and_comes_back_when_it_is_done() -> None:
    schedule = Schedule()
    schedule.add(A, at=1.0)
    assert taken(schedule, 1.0) == A
    schedule.add(A, at=1.0)
    assert taken(schedule, 9.0) is None
    schedule.done(A)
    assert taken(schedule, 9.0) == A


def test_a_failing_key_does_not_hold_up_others() -> None:
    schedule = Schedule()
    schedule.add(A, at=0.0)
    assert taken(schedule, 0.0) == A
    schedule.add(A, at=retry_seconds(8))
    schedule.done(A)
    schedule.add(B, at=1.0)
    assert taken(schedule, 1.0) == B


def test_an_edit_goes_before_a_thousand_new_ones() -> None:
    schedule = Schedule()
    for number in range(1000):
        schedule.add(key(f"new-{number}"), at=0.0)
    schedule.add(A, at=0.5, urgent=True)
    assert taken(schedule, 1.0) == A


def test_an_edit_of_a_ready_key_moves_it_to_the_front() -> None:
    schedule = Schedule()
    for each in (A, B, C):
        schedule.add(each, at=0.0)
    assert taken(schedule, 0.0) == A
    schedule.add(C, at=0.0, urgent=True)
    assert taken(schedule, 0.0) == C


def test_the_wait_of_a_key_counts_from_when_it_was_ready() -> None:
    schedule = Schedule()
    schedule.add(A, at=3.0)
    assert schedule.take(10.0) == (A, 3.0)


Step = tuple[str, ObjectKey, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "urgent", "take", "done"]), st.sampled_from([A, B, C]), st.floats(0.0, 10.0)
    )
)


@given(steps)
def test_no_key_is_lost_and_none_has_two_workers(script: list[Step]) -> None:
    schedule, wanted, busy, now = Schedule(), set[ObjectKey](), set[ObjectKey](), 0.0
    for action, each, number in script:
        if action in ("add", "urgent"):
            schedule.add(each, now + number, urgent=action == "urgent")
            wanted.add(each)
        elif action == "take":
            now += number
            found = taken(schedule, now)
            if found is not None:
                assert found not in busy
                busy.add(found)
                wanted.discard(found)
        elif busy:
            schedule.done(busy.pop())
    for each in busy:
        schedule.done(each)
    rest = set()
    while (found := taken(schedule, now + 100.0)) is not None:
        rest.add(found)
    assert rest == wanted


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1.0), (2, 2.0), (5, 16.0), (20, LONGEST_RETRY_SECONDS)]
)
def test_delays_double_up_to_the_longest(failures: int, seconds: float) -> None:
    assert retry_seconds(failures) == seconds


async def test_a_waiting_worker_wakes_for_an_earlier_key() -> None:
    queue = WorkQueue()
    queue.add(A, delay_seconds=3600.0)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(B)
    found, _ = await waiting
    assert found == B
