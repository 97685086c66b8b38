"""Processes by their parents, from /proc."""

from __future__ import annotations

from pathlib import Path


def child_processes(pid: int) -> list[int]:
    """Return the ids of the process's children, whichever of its threads started them."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted({int(child) for each in lists for child in each.read_text().split()})


def command_line(pid: int) -> str:
    """Return the command line, words parted by NUL; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
