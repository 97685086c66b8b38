"""Engine arguments against what the loaded library knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def check_arguments(library: str, arguments: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ValueError for an argument this version of the library does not have, naming the nearest one it
    has.
    """
    names = sorted(known)
    for name in arguments:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"this version of {library} has no engine argument {name!r}{hint}")
