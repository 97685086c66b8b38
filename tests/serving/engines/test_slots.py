"""Places for running requests."""

from __future__ import annotations

from gemma_serving.engines.slots import SlotQueue


async def test_places_are_handed_out_at_once_while_there_are_any() -> None:
    slots = SlotQueue(2)
    first, second, third = slots.request(0), slots.request(0), slots.request(0)
    assert (first.done(), second.done(), third.done()) == (True, True, False)


async def test_lower_priority_numbers_go_first_then_arrival() -> None:
    slots = SlotQueue(1)
    slots.request(0)
    late, early, urgent = slots.request(5), slots.request(5), slots.request(-1)
    order = []
    for _ in range(3):
        slots.release()
        order.append([place.done() for place in (late, early, urgent)])
    assert order == [[False, False, True], [True, False, True], [True, True, True]]


async def test_place_given_up_while_waiting_goes_to_the_next() -> None:
    slots = SlotQueue(1)
    slots.request(0)
    gone, next_one = slots.request(0), slots.request(0)
    gone.cancel()
    slots.release()
    assert next_one.done()


async def test_released_places_are_not_lost_when_everybody_left() -> None:
    slots = SlotQueue(1)
    slots.request(0)
    slots.request(0).cancel()
    slots.release()
    assert slots.request(0).done()
    assert not slots.request(0).done()
