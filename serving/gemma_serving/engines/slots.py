"""A fixed number of places, handed out by priority and then in order of arrival."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class SlotQueue:
    """Places for running requests. Used on one event loop only.

    Waiting happens here rather than in the library, so that a waiting request can be cancelled at once and
    priorities hold.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def request(self, priority: int) -> asyncio.Future[None]:
        """Return a future that is done once a place is yours; lower numbers go first.

        Cancel it to leave the queue.
        """
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._free:
            self._free -= 1
            place.set_result(None)
        else:
            heapq.heappush(self._waiting, (priority, next(self._order), place))
        return place

    def release(self) -> None:
        """Give a place back: the next in line has it."""
        while self._waiting:
            place = heapq.heappop(self._waiting)[2]
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
