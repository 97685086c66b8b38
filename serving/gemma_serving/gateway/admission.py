"""Who may generate now: slots, and a bounded queue that is fair between keys.

A sequence gets a slot when one is free, otherwise it waits. The next slot goes to the waiting key with the
fewest running sequences, oldest turn first, so a busy key cannot starve another. When the queue is full, a
newcomer whose key waits for less than the longest-waiting key takes the place of that key's newest ticket.

"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_RETRY_AFTER_SECONDS = 60
"""Longest advice to wait; a longer one would outlive most clients' patience."""
FIRST_GUESS_SECONDS = 2.0
"""Assumed duration of a sequence before any has ended."""


class QueueFullError(Exception):
    """No slot is free and the queue holds all it may."""


class Evicted(Exception):  # noqa: N818 - it is what happened to the ticket
    """The queue was full and another key, which waited for less, took the place."""


@dataclass(eq=False, slots=True)
class Ticket:
    """One sequence's place in the queue, then its slot."""

    key: str
    ready: asyncio.Future[None]
    enqueued_at: float = field(default_factory=time.monotonic)
    admitted_at: float | None = None


class Admission:
    """Slots and queue of one pod. Not thread-safe: one event loop."""

    def __init__(self, slots: int, queue_limit: int) -> None:
        self.slots = slots
        self.queue_limit = queue_limit
        self._running: dict[str, int] = {}
        self._running_total = 0
        self._queues: dict[str, deque[Ticket]] = {}
        self._turn = 0
        self._last_turn: dict[str, int] = {}
        self._waiting_total = 0
        self._mean_seconds = FIRST_GUESS_SECONDS

    @property
    def running(self) -> int:
        """Sequences that hold a slot."""
        return self._running_total

    @property
    def waiting(self) -> int:
        """Sequences in the queue."""
        return self._waiting_total

    def enter(self, key: str, count: int = 1) -> list[Ticket]:
        """Places for `count` sequences of one request: all, or QueueFullError and none."""
        free = self.slots - self._running_total if not self._waiting_total else 0
        excess = self._waiting_total + max(0, count - free) - self.queue_limit
        if excess > 0 and not self._evict_for(key, excess):
            raise QueueFullError
        loop = asyncio.get_running_loop()
        tickets = [Ticket(key, loop.create_future()) for _ in range(count)]
        for ticket in tickets:
            self._queues.setdefault(key, deque()).append(ticket)
        self._waiting_total += count
        self._admit()
        return tickets

    def leave(self, ticket: Ticket) -> None:
        """Give up the place or the slot; idempotent."""
        if ticket.admitted_at is not None:
            self._release(ticket)
        elif ticket.key in self._queues and ticket in self._queues[ticket.key]:
            self._remove(ticket)
        self._admit()

    def retry_after_seconds(self) -> int:
        """When a place is likely free, from the mean duration of recent sequences."""
        expected = self._mean_seconds * (self._waiting_total + 1) / self.slots
        return max(1, min(MAX_RETRY_AFTER_SECONDS, round(expected)))

    def _release(self, ticket: Ticket) -> None:
        assert ticket.admitted_at is not None
        seconds = time.monotonic() - ticket.admitted_at
        self._mean_seconds += 0.1 * (seconds - self._mean_seconds)
        ticket.admitted_at = None
        self._running_total -= 1
        self._running[ticket.key] -= 1
        if not self._running[ticket.key]:
            del self._running[ticket.key]
            self._forget(ticket.key)

    def _remove(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.key]
        queue.remove(ticket)
        self._waiting_total -= 1
        if not queue:
            del self._queues[ticket.key]
            self._forget(ticket.key)

    def _admit(self) -> None:
        while self._queues and self._running_total < self.slots:
            key = min(self._queues, key=self._share)
            ticket = self._queues[key][0]
            self._remove(ticket)
            self._turn += 1
            self._last_turn[key] = self._turn
            ticket.admitted_at = time.monotonic()
            self._running_total += 1
            self._running[key] = self._running.get(key, 0) + 1
            if not ticket.ready.done():  # Done: its task was cancelled and will leave.
                ticket.ready.set_result(None)

    def _share(self, key: str) -> tuple[int, int]:
        """What a key has had: the least goes first."""
        return self._running.get(key, 0), self._last_turn.get(key, 0)

    def _forget(self, key: str) -> None:
        if key not in self._queues and key not in self._running:
            self._last_turn.pop(key, None)

    def _evict_for(self, key: str, count: int) -> bool:
        """Make room for `count` tickets of `key` from keys that wait for more; all or nothing."""
        lengths = {name: len(queue) for name, queue in self._queues.items()}
        victims: list[str] = []
        for _ in range(count):
            longest = max(lengths, key=lambda name: lengths[name], default=None)
            mine = lengths.get(key, 0)
            if longest is None or longest == key or lengths[longest] <= mine + 1:
                return False
            lengths[longest] -= 1
            lengths[key] = mine + 1
            victims.append(longest)
        for name in victims:
            ticket = self._queues[name][-1]
            self._remove(ticket)
            if not ticket.ready.done():
                ticket.ready.set_exception(Evicted())
        return True


def leave_all(admission: Admission, tickets: Sequence[Ticket]) -> None:
    """Give up every place and slot of a request."""
    for ticket in tickets:
        admission.leave(ticket)
        if ticket.ready.done() and not ticket.ready.cancelled():
            ticket.ready.exception()  # An eviction that nobody waits for is no unhandled error.
