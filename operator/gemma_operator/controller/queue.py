"""Which GemmaDeployment comes next: at most one worker for each, and many reasons to look make one look."""

import asyncio
from collections import OrderedDict
from heapq import heappop, heappush

from gemma_operator.api.manifest import ObjectKey

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0


def retry_seconds(failures: int) -> float:
    """Delay after so many failures in a row: 1, 2, 4 … 300 s. No jitter: each key has its own start."""
    return float(min(FIRST_RETRY_SECONDS * 2 ** (failures - 1), LONGEST_RETRY_SECONDS))


class Schedule:
    """The order of keys. It is told the time, and knows nothing of tasks.

    A key is waiting (until its time), ready (for a worker), or busy (with one); what is asked for a busy
    key waits.
    """

    def __init__(self) -> None:
        self._due: dict[ObjectKey, float] = {}
        self._times: list[tuple[float, ObjectKey]] = []
        self._urgent: set[ObjectKey] = set()
        self._lanes: tuple[OrderedDict[ObjectKey, float], ...] = (OrderedDict(), OrderedDict())
        self._busy: set[ObjectKey] = set()

    def __len__(self) -> int:
        """Keys that are ready."""
        return sum(map(len, self._lanes))

    def oldest(self) -> float | None:
        """Since when the longest ready key is ready."""
        return min((at for lane in self._lanes for at in lane.values()), default=None)

    def add(self, key: ObjectKey, at: float, urgent: bool = False) -> None:
        """Make the key ready at that time, unless it is earlier already. Urgent keys go before all others."""
        urgent_lane, lane = self._lanes
        if key in lane and urgent:
            urgent_lane[key] = lane.pop(key)
        if key in lane or key in urgent_lane:
            return
        if urgent:
            self._urgent.add(key)
        if self._due.get(key, float("inf")) > at:
            self._due[key] = at
            heappush(self._times, (at, key))

    def take(self, now: float) -> tuple[ObjectKey, float] | None:
        """The next key and since when it is ready, or None. Nobody else gets the key until it is `done`."""
        while self._next_is_valid() and self._times[0][0] <= now:
            at, key = heappop(self._times)
            del self._due[key]
            self._lanes[0 if key in self._urgent else 1][key] = at
            self._urgent.discard(key)
        for lane in self._lanes:
            if lane:
                key, at = lane.popitem(last=False)
                self._busy.add(key)
                return key, at
        return None

    def done(self, key: ObjectKey) -> None:
        """The worker has finished with the key. What was asked for meanwhile still stands."""
        self._busy.discard(key)
        if key in self._due:
            heappush(self._times, (self._due[key], key))

    def next_time(self) -> float | None:
        """When the next waiting key becomes ready."""
        return self._times[0][0] if self._next_is_valid() else None

    def _next_is_valid(self) -> bool:
        """Drop times that an earlier one replaced, and those of busy keys, which `done` brings back."""
        while self._times:
            at, key = self._times[0]
            if key not in self._busy and self._due.get(key) == at:
                return True
            heappop(self._times)
        return False


class WorkQueue:
    """The schedule on the event loop's clock."""

    def __init__(self) -> None:
        self._schedule = Schedule()
        self._work = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are ready."""
        return len(self._schedule)

    def oldest_seconds(self) -> float:
        """How long the longest ready key has been ready; 0 without any."""
        oldest = self._schedule.oldest()
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    def add(self, key: ObjectKey, delay_seconds: float = 0.0, urgent: bool = False) -> None:
        """Have the key looked at after a delay, unless it will be earlier."""
        self._schedule.add(key, asyncio.get_running_loop().time() + delay_seconds, urgent)
        self._work.set()

    async def take(self) -> tuple[ObjectKey, float]:
        """Wait for the next key; returns it and the seconds that it was ready."""
        loop = asyncio.get_running_loop()
        while True:
            taken = self._schedule.take(loop.time())
            if taken is not None:
                key, since = taken
                return key, loop.time() - since
            self._work.clear()
            next_time = self._schedule.next_time()
            timer = None if next_time is None else loop.call_at(next_time, self._work.set)
            try:
                await self._work.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def done(self, key: ObjectKey) -> None:
        """The worker has finished with the key."""
        self._schedule.done(key)
        self._work.set()
