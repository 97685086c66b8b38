"""Which replica gets a request: the least busy one, or the one that has its beginning in its cache."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass

BOUND = 1.25
"""Affinity holds while its replica has at most this many times the mean of open requests (Mirrokni et al.,
"Consistent Hashing with Bounded Loads", 2018: c = 1.25)."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
"""A replica that keeps failing is tried again no less often."""


@dataclass(slots=True)
class _Replica:
    open: int = 0
    failures: int = 0
    closed_until: float = 0.0


class Balance:
    """Open requests and failures of each replica. One event loop."""

    def __init__(self) -> None:
        self._replicas: dict[str, _Replica] = {}

    def choose(self, addresses: Collection[str], prefix: str, now: float) -> str | None:
        """The replica for a request that begins with `prefix`; None without one that may be asked.

        Where every replica has failed lately the one whose pause ends first is tried: better than refusing.
        """
        if not addresses:
            return None
        able = [each for each in addresses if self._of(each).closed_until <= now]
        if not able:
            return min(addresses, key=lambda each: (self._of(each).closed_until, each))
        mean = sum(self._of(each).open for each in able) / len(able)
        ranked = sorted(able, key=lambda each: _rank(prefix, each), reverse=True)
        bound = math.ceil(BOUND * (mean + 1 / len(able)))
        if prefix and self._of(ranked[0]).open < bound:
            return ranked[0]
        return min(ranked, key=lambda each: self._of(each).open)

    def began(self, address: str) -> None:
        """A request was sent."""
        self._of(address).open += 1

    def ended(self, address: str) -> None:
        """It is over."""
        self._of(address).open -= 1

    def failed(self, address: str, now: float) -> None:
        """The replica did not answer: leave it alone for a while, twice as long each time.

        Requests that were under way when the first one failed tell nothing new.
        """
        replica = self._of(address)
        if replica.closed_until > now:
            return
        replica.failures += 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (replica.failures - 1), LONGEST_PAUSE_SECONDS)
        replica.closed_until = now + pause

    def answered(self, address: str) -> None:
        """It does answer."""
        replica = self._of(address)
        replica.failures, replica.closed_until = 0, 0.0

    def retain(self, addresses: Collection[str]) -> None:
        """Forget replicas that are gone and have no open request."""
        kept = set(addresses)
        self._replicas = {
            address: replica for address, replica in self._replicas.items() if address in kept or replica.open
        }

    def open_at(self, address: str) -> int:
        """Open requests."""
        return self._of(address).open

    def _of(self, address: str) -> _Replica:
        return self._replicas.setdefault(address, _Replica())


def _rank(prefix: str, address: str) -> bytes:
    """Rendezvous hashing: each prefix has its favourite replica, whatever others come and go."""
    return hashlib.blake2b(f"{prefix}\0{address}".encode(), digest_size=8).digest()
