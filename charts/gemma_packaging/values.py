"""The chart's values as its own file documents them: path, default, comment.

helm-docs does this for Go; it reads `# --` comments only, and no package of a registry we use has it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

INDENT = 2
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):(?P<value>.*)$")


@dataclass(frozen=True, slots=True)
class Value:
    """One key of values.yaml.

    Attributes:
        path: keys joined by dots, as `--set` takes them.
        default: as YAML on one line; empty for a key whose value is a block of keys.
        comment: the lines above it, joined; empty where there are none.
    """

    path: str
    default: str
    comment: str

    @property
    def is_group(self) -> bool:
        """Whether it only holds other keys."""
        return not self.default


def values_of(text: str) -> list[Value]:
    """Every documented key of a values file, in its order.

    A block whose first key has no comment is one value, as `resources` is: it is documented as a whole.
    """
    found: list[Value] = []
    path: list[str] = []
    opaque_above = 0  # indent of the block that is one value; 0: none
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = _KEY.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        if opaque_above and indent >= opaque_above:
            continue
        opaque_above = 0
        path = [*path[: indent // INDENT], match["key"]]
        default = match["value"].split(" #")[0].strip()
        if not default and not _is_documented(lines, number + 1):
            opaque_above = indent + INDENT
            default = _inline(_block(lines[number + 1 :], indent))
        found.append(Value(".".join(path), default, _comment_above(lines, number)))
    return found


def _is_documented(lines: list[str], number: int) -> bool:
    return number < len(lines) and lines[number].lstrip().startswith("#")


def _block(lines: list[str], indent: int) -> str:
    kept = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        kept.append(line)
    return "\n".join(kept)


def _inline(block: str) -> str:
    dumped: str = yaml.safe_dump(yaml.safe_load(block), default_flow_style=True, sort_keys=False, width=1000)
    return dumped.strip()


def _comment_above(lines: list[str], number: int) -> str:
    return " ".join(reversed(list(_comments_upwards(lines, number))))


def _comments_upwards(lines: list[str], number: int) -> Iterator[str]:
    for line in reversed(lines[:number]):
        if not line.lstrip().startswith("#"):
            return
        yield line.lstrip().removeprefix("#").strip()
