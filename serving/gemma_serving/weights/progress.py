"""How far a fetch is: a JSON line in the log and a file on the volume, at most every two seconds."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from gemma_serving.weights.outcome import Outcome, Reason, human_bytes
from gemma_serving.weights.volume import write_atomically

INTERVAL_SECONDS = 2.0


class Progress:
    """Counts bytes and says so now and then.

    Args:
        file: where the latest line also goes.
        write: where lines go.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        file: Path,
        write: Callable[[str], None] = lambda line: print(line, flush=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._write = write
        self._clock = clock
        self._said_at = float("-inf")
        self._begun_at = clock()
        self._transferred = 0
        self.revision: str | None = None
        self.bytes_done = 0
        self.bytes_total = 0

    def begin(self, revision: str, bytes_done: int, bytes_total: int) -> None:
        """Start measuring; what is there already counts as done, not towards the rate."""
        self.revision, self.bytes_done, self.bytes_total = revision, bytes_done, bytes_total
        self._begun_at, self._transferred = self._clock(), 0
        self._say_progress()

    def advance(self, count: int) -> None:
        """Count transferred bytes."""
        self.bytes_done += count
        self._transferred += count
        if self._clock() - self._said_at >= INTERVAL_SECONDS:
            self._say_progress()

    def take_back(self, count: int) -> None:
        """Uncount bytes that have to be fetched again."""
        self.bytes_done -= count

    def note(self, message: str) -> None:
        """Say something about the fetch at once."""
        self._write(self.outcome(Reason.FETCHING, message).to_json())

    def outcome(self, reason: Reason, message: str) -> Outcome:
        """An outcome with the bytes so far."""
        return Outcome(reason, message, self.revision, self.bytes_done, self.bytes_total)

    def _say_progress(self) -> None:
        now = self._clock()
        self._said_at = now
        rate = self._transferred / (now - self._begun_at) if now > self._begun_at else 0.0
        left = (self.bytes_total - self.bytes_done) / rate if rate else None
        done = f"{human_bytes(self.bytes_done)} of {human_bytes(self.bytes_total)}"
        speed = f", {human_bytes(rate)}/s, {left:.0f} s left" if left is not None else ""
        fields = json.loads(self.outcome(Reason.FETCHING, f"fetched {done}{speed}").to_json())
        fields |= {"bytes_per_second": round(rate)} | (
            {"eta_seconds": round(left)} if left is not None else {}
        )
        line = json.dumps(fields)
        self._write(line)
        write_atomically(self._file, line)
