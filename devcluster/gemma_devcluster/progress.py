"""Shows what is being built, for how long, and how long it should take."""

import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

# One line now and then keeps a CI log alive without filling it.
PLAIN_INTERVAL_SECONDS = 15.0
LIVE_REFRESHES_PER_SECOND = 4

_terminal = threading.Lock()
"""One display redraws the terminal; a second one beside it prints lines, which appear above the first."""


class BuildProgress:
    """Progress of several builds running side by side: redrawn on a terminal, one line at a time elsewhere.

    Args:
        expected_seconds: build name to its expected duration; the order is the order shown.
    """

    def __init__(self, expected_seconds: Mapping[str, int], console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._expected = dict(expected_seconds)
        self._started: dict[str, float] = {}
        self._finished: dict[str, float] = {}
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._closing = threading.Event()
        self._live: Live | None = None
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> "BuildProgress":
        names = ", ".join(self._expected)
        self._print(f"building {names}: about {_span(sum(self._expected.values()))} on 2 cores, once")
        if self._console.is_terminal and _terminal.acquire(blocking=False):
            self._live = Live(
                get_renderable=self._table,
                console=self._console,
                refresh_per_second=LIVE_REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
        else:
            self._ticker = threading.Thread(target=self._print_regularly, daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._live is not None:
            self._live.stop()
            _terminal.release()
        if self._ticker is not None:
            self._ticker.join()

    def start(self, name: str) -> None:
        """A build has begun."""
        with self._lock:
            self._started[name] = time.monotonic()

    def finish(self, name: str) -> None:
        """A build has ended well."""
        with self._lock:
            seconds = time.monotonic() - self._started[name]
            self._finished[name] = seconds
            done = len(self._finished)
        self._print(f"built {name} in {_span(seconds)} ({done} of {len(self._expected)})")

    def _print_regularly(self) -> None:
        while not self._closing.wait(PLAIN_INTERVAL_SECONDS):
            self._print(self._line())

    def _print(self, line: str) -> None:
        # A log line stays one line, whatever width rich believes the log to have.
        self._console.print(line, soft_wrap=True)
        sys.stderr.flush()

    def _line(self) -> str:
        running = ", ".join(
            f"{name} {_span(elapsed)} of about {_span(self._expected[name])}"
            for name, elapsed in self._running()
        )
        total = _span(time.monotonic() - self._begun)
        done = f"{len(self._finished)} of {len(self._expected)} built"
        return f"  {total}: {done}; building {running or 'nothing'}"

    def _running(self) -> list[tuple[str, float]]:
        now = time.monotonic()
        with self._lock:
            return [(n, now - t) for n, t in self._started.items() if n not in self._finished]

    def _table(self) -> Group:
        running = dict(self._running())
        lines = [Text(f"{_span(time.monotonic() - self._begun)} elapsed")]
        for name, expected in self._expected.items():
            if name in running:
                share = min(running[name] / expected, 1.0)
                bar = "█" * round(20 * share)
                lines.append(
                    Text(f"  {name:<12} {bar:<20} {_span(running[name])} of about {_span(expected)}", "bold")
                )
            elif name not in self._finished:
                lines.append(Text(f"  {name:<12} waiting, about {_span(expected)}", "dim"))
        return Group(*lines)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
