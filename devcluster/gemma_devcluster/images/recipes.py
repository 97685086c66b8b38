"""Which images there are, and what decides their content: the tag is a digest of exactly that."""

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster.errors import DevclusterError

REPOSITORY_ROOT = Path(__file__).resolve().parents[3]
REGISTRY = "localhost/gemma-operator"
TAG_LENGTH = 16
MEGABYTE = 1_000_000
IGNORED_FOLDER = "__pycache__"


@dataclass(frozen=True)
class Recipe:
    """One image of ours.

    Attributes:
        name: last part of the reference.
        dockerfile: path in the repository.
        expected_seconds: a cold build on 2 cores with nothing beside it (measured 2026-11).
        budget_bytes: what it may add to the base, uncompressed; None where nobody set one.
    """

    name: str
    dockerfile: str
    expected_seconds: int
    budget_bytes: int | None = None


RECIPES: tuple[Recipe, ...] = (
    Recipe("operator", "operator/Dockerfile", expected_seconds=40, budget_bytes=180 * MEGABYTE),
    Recipe("gateway", "serving/images/Dockerfile.gateway", expected_seconds=40, budget_bytes=220 * MEGABYTE),
    Recipe("triton-cpu", "serving/images/Dockerfile.triton-cpu", expected_seconds=60),
    Recipe("weights-mirror", "devcluster/mirror/Dockerfile", expected_seconds=40),
)


def select(names: list[str] | None) -> tuple[Recipe, ...]:
    """The named recipes in build order; all of them for None.

    Raises:
        DevclusterError: a name that no recipe has.
    """
    if names is None:
        return RECIPES
    known = {recipe.name for recipe in RECIPES}
    unknown = sorted(set(names) - known)
    if unknown:
        raise DevclusterError(
            f"there is no image {unknown[0]!r}; there are: {', '.join(r.name for r in RECIPES)}"
        )
    return tuple(recipe for recipe in RECIPES if recipe.name in names)


def copied_paths(dockerfile: str) -> list[str]:
    """What a Dockerfile copies from the build context, in order of appearance."""
    paths: list[str] = []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0].upper() not in ("COPY", "ADD"):
            continue
        operands = [word for word in words[1:] if not word.startswith("--")]
        if not any(word.startswith("--from=") for word in words):
            paths += operands[:-1]
    return paths


def context_files(root: Path, copied: list[str]) -> list[Path]:
    """All files below the copied paths, sorted, without compiled Python.

    Raises:
        DevclusterError: a copied path does not exist.
    """
    files: set[Path] = set()
    for each in copied:
        path = root / each
        if path.is_file():
            files.add(path)
        elif path.is_dir():
            files |= {p for p in path.rglob("*") if p.is_file() and IGNORED_FOLDER not in p.parts}
        else:
            raise DevclusterError(f"a Dockerfile copies {each}, which does not exist in {root}")
    return sorted(files)


def project_version(root: Path = REPOSITORY_ROOT) -> str:
    """The version that the wheel and the chart have too."""
    text = (root / "operator" / "gemma_operator" / "__init__.py").read_text()
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if match is None:
        raise DevclusterError('operator/gemma_operator/__init__.py has no line `__version__ = "…"`')
    return match[1]


def tag_of(recipe: Recipe, base_identity: str, root: Path = REPOSITORY_ROOT) -> str:
    """A digest of the Dockerfile, every file that it copies (path, mode, bytes) and the identity of the base.

    Raises:
        DevclusterError: a copied path does not exist.
    """
    dockerfile = root / recipe.dockerfile
    digest = hashlib.sha256(f"{recipe.name}\n{base_identity}\n".encode())
    for path in [dockerfile, *context_files(root, copied_paths(dockerfile.read_text()))]:
        content = path.read_bytes()
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(root)} {executable} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:TAG_LENGTH]


def reference_of(name: str, tag: str) -> str:
    """Full name of an image, as pods write it."""
    return f"{REGISTRY}/{name}:{tag}"
