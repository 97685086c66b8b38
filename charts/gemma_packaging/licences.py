"""Licences of what the images carry, from the metadata of the installed packages: no network.

`docs/licences.md` is written from here. A package whose licence is not in ALLOWED fails the build.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SHIPPED = {
    "operator": "operator.txt",
    "gateway": "serving.txt",
    "triton-cpu": "triton-cpu.txt",
}
"""Image to the lock file whose packages it carries."""

ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-CMU", "MPL-2.0",
        "PSF-2.0", "Public-Domain", "Zlib",
    }
)  # fmt: skip
"""SPDX names that may ship: permissive ones, and MPL-2.0, whose copyleft ends at its own files."""

STATED = {
    "async-timeout": "Apache-2.0",  # only installed on Python below 3.11.3; its own LICENSE file
    "nvidia-pytriton": "Apache-2.0 AND BSD-3-Clause",  # its LICENSE, and Triton's within; in no test
}
"""Of packages that the development environment does not have, read in their files."""

_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "BSD-3-Clause and Public-Domain": "BSD-3-Clause AND Public-Domain",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Words of classifiers and of the old License field, in SPDX."""

_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_OPERATORS = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]")


class UnknownLicenceError(LookupError):
    """A package says nothing that could be read; the text names it."""


@dataclass(frozen=True, slots=True)
class Package:
    """One locked package.

    Attributes:
        name: as the lock file spells it.
        version: as locked.
        licence: SPDX expression.
    """

    name: str
    version: str
    licence: str

    def refused(self) -> set[str]:
        """Licences in the expression that may not ship. Of alternatives (OR) one allowed one is enough."""
        alternatives = [set(_names(part)) for part in re.split(r"\s+OR\s+", self.licence)]
        if any(names <= ALLOWED for names in alternatives):
            return set()
        return set().union(*alternatives) - ALLOWED


def locked(path: Path) -> list[tuple[str, str]]:
    """(name, version) of every package of a lock file."""
    return [(match[1], match[2]) for match in _LOCKED.finditer(path.read_text())]


def packages_of(path: Path) -> list[Package]:
    """Every package of a lock file with its licence. Raises UnknownLicenceError."""
    return [Package(name, version, licence_of(name)) for name, version in locked(path)]


def licence_of(name: str) -> str:
    """SPDX expression of an installed package. Raises UnknownLicenceError."""
    if name in STATED:
        return STATED[name]
    try:
        about = metadata.metadata(name).json
    except metadata.PackageNotFoundError as error:
        raise UnknownLicenceError(
            f"{name} is not installed: install it, or read its licence and add it to STATED"
        ) from error
    if expression := about.get("license_expression"):
        return str(expression)
    classifiers = [
        word.rpartition(" :: ")[2]
        for word in about.get("classifier", ())
        if word.startswith("License :: OSI Approved :: ")
    ]
    if classifiers:
        # Several classifiers are alternatives or parts; nobody says which, so all have to be allowed.
        return " AND ".join(sorted({_NAMES.get(word, word) for word in classifiers}))
    if stated := str(about.get("license", "")):
        return _NAMES.get(stated, stated)
    raise UnknownLicenceError(f"{name} states no licence: read its files and add it to STATED")


def refused(packages: list[Package]) -> list[str]:
    """`name version: licence` of what may not ship."""
    return [f"{p.name} {p.version}: {p.licence}" for p in packages if p.refused()]


def table(requirements: Path) -> str:
    """docs/licences.md."""
    lines = [
        "<!-- generated from requirements/ by `make packaging`; do not edit -->",
        "# Licences of what ships",
        "",
        "Of our images' Python packages, as each one's own metadata states them. Nothing under GPL or AGPL",
        "is among them: a test holds every locked package to a list of licences that may ship.",
        "The base image is Debian's, NVIDIA's Triton images are used unmodified and never redistributed, and",
        "Gemma weights have [terms of their own](https://ai.google.dev/gemma/terms).",
        "",
    ]
    for image, file in SHIPPED.items():
        lines += [f"## {image}", "", "| package | version | licence |", "|---|---|---|"]
        lines += [f"| {p.name} | {p.version} | {p.licence} |" for p in packages_of(requirements / file)]
        lines.append("")
    return "\n".join(lines)


def _names(expression: str) -> Iterator[str]:
    return (word.strip() for word in _OPERATORS.split(expression) if word.strip())
