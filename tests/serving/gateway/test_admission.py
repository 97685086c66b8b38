"""Slots, queue, fairness."""

import asyncio

import pytest

from gemma_serving.gateway.admission import Admission, Evicted, QueueFullError, leave_all


def admitted(tickets):
    return [ticket for ticket in tickets if ticket.admitted_at is not None]


async def test_a_free_slot_is_given_at_once_and_the_next_waits():
    admission = Admission(slots=1, queue_limit=4)
    first, second = admission.enter("a", 2)
    assert first.ready.done()
    assert not second.ready.done()
    assert (admission.running, admission.waiting) == (1, 1)
    admission.leave(first)
    assert second.ready.done()
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_full_queue_refuses_all_sequences_of_a_request_or_none():
    admission = Admission(slots=1, queue_limit=2)
    admission.enter("a", 2)
    with pytest.raises(QueueFullError):
        admission.enter("a", 2)
    assert (admission.running, admission.waiting) == (1, 1)


async def test_without_a_queue_only_slots_are_given():
    admission = Admission(slots=2, queue_limit=0)
    admission.enter("a", 2)
    with pytest.raises(QueueFullError):
        admission.enter("b")


async def test_a_busy_key_does_not_starve_another():
    admission = Admission(slots=2, queue_limit=100)
    busy = admission.enter("busy", 50)
    quiet = admission.enter("quiet", 1)
    admission.leave(busy[0])
    assert quiet[0].ready.done()


async def test_slots_are_shared_equally_between_keys_that_all_want_more():
    admission = Admission(slots=6, queue_limit=1000)
    tickets = {key: admission.enter(key, 50) for key in "abc"}
    for ticket in admitted(tickets["a"]):
        admission.leave(ticket)
    assert [len(admitted(tickets[key])) for key in "abc"] == [2, 2, 2]


async def test_a_full_queue_of_one_key_makes_room_for_another():
    admission = Admission(slots=1, queue_limit=4)
    busy = admission.enter("busy", 5)
    quiet = admission.enter("quiet", 1)
    with pytest.raises(Evicted):
        await busy[-1].ready
    assert admission.waiting == 4
    admission.leave(busy[0])
    assert quiet[0].ready.done()


async def test_a_key_gains_nothing_by_pushing_out_its_equal():
    admission = Admission(slots=1, queue_limit=2)
    admission.enter("a", 2)
    admission.enter("b", 1)
    with pytest.raises(QueueFullError):
        admission.enter("b", 1)


async def test_leaving_is_idempotent_and_frees_everything():
    admission = Admission(slots=2, queue_limit=10)
    tickets = admission.enter("a", 7)
    tickets[0].ready.result()
    leave_all(admission, tickets)
    leave_all(admission, tickets)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_waiter_that_is_cancelled_loses_nothing_for_the_others():
    admission = Admission(slots=1, queue_limit=10)
    first, second, third = admission.enter("a", 3)
    waiter = asyncio.ensure_future(asyncio.wait_for(second.ready, None))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    admission.leave(first)
    admission.leave(second)
    assert third.ready.done()
    assert admission.running == 1


async def test_advice_to_retry_stays_within_a_minute():
    admission = Admission(slots=1, queue_limit=10_000)
    assert 1 <= admission.retry_after_seconds() <= 60
    admission.enter("a", 10_000)
    assert admission.retry_after_seconds() == 60
