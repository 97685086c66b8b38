"""The commands of docs/runbooks that only look, as somebody on call would type them."""

import re
from collections.abc import Mapping
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "runbooks"
LOOKING = re.compile(r"kubectl (?:-n \S+ )?(?:get|describe|logs|exec|rollout history|auth can-i) ")
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
FOLLOWS = "--watch"
"""Such a command does not end."""
OF_ADD_ONS = (
    "podmonitor",
    "certificate",
    "scaledobject",
    "nvidia-smi",
    "apiservice | grep metrics",
    "front-door",
)
"""Need what a small cluster has not."""
OF_OTHER_SPECS = ("GUARD", "SECRET")
"""Speak of objects that only some endpoints have."""

NEVER_RESTARTED = "previous terminated container"
"""What kubectl says against `--previous` where the container is its first."""
MAY_BE_EMPTY = (
    "--previous",
    "describe hpa",
    "describe resourcequota",
    "spec.safety",
    "spec.scaling",
    "ScalingActive",
    "role=weights",  # without a cache pods fetch themselves
    "Pending",
)


def may_be_empty(command: str) -> bool:
    """Whether it asks for what this endpoint has not."""
    return any(part in command for part in MAY_BE_EMPTY)


def looking(names: Mapping[str, str]) -> list[str]:
    """Every command that looks, each once, with the reader's words (NS, NAME, POD, …) replaced.

    What a pipe does with the output afterwards is left out: `grep` fails where there is nothing to find.
    """
    words = re.compile(r"(?<![\w-])(?:" + "|".join(sorted(names, key=len, reverse=True)) + r")(?![\w-])")
    commands = set()
    for page in sorted(PAGES.glob("*.md")):
        for block in _SHELL.findall(page.read_text()):
            for line in block.splitlines():
                if LOOKING.match(line) and not _needs_more(line):
                    commands.add(words.sub(lambda found: names[found[0]], line.split(" | ")[0].strip()))
    return sorted(commands)


def _needs_more(line: str) -> bool:
    return FOLLOWS in line or any(word in line for word in (*OF_ADD_ONS, *OF_OTHER_SPECS))
