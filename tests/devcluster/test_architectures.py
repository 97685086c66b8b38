"""The images of operator and gateway assume no processor: their Dockerfiles and lock files serve arm64 too.

Nothing is built for arm64 here. `triton-cpu` is amd64 only, as is the server that it carries.
"""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gemma_devcluster.images.recipes import REPOSITORY_ROOT, Recipe, context_files, copied_paths, select

ANY_PROCESSOR = ("operator", "gateway")
LOCKS = {"operator": "operator.txt", "gateway": "serving.txt"}
PROCESSOR = re.compile(r"amd64|x86[-_]64|i[36]86|arm64|aarch64|--platform|linux-gnu", re.IGNORECASE)
ELF = b"\x7fELF"
ONLY_IN_IMAGES = {"async-timeout"}
"""Of Python below 3.11.3: not installed beside a newer one. Python alone, and it needs nothing."""
IMAGES_ENVIRONMENT = {
    "python_version": "3.11",
    "python_full_version": "3.11.2",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "extra": "",
}
every_image = pytest.mark.parametrize("recipe", select(list(ANY_PROCESSOR)), ids=lambda recipe: recipe.name)


def hashes_by_package(lock: Path) -> dict[str, int]:
    """Canonical name of each locked package to how many files of it are locked."""
    entries = re.split(r"\n(?=\S)", lock.read_text())
    found = {entry.partition("==")[0].partition("[")[0]: entry.count("--hash=") for entry in entries}
    named = {canonicalize_name(name): count for name, count in found.items() if count}
    return {name: count for name, count in named.items() if name not in ONLY_IN_IMAGES}


def needed(packages: dict[str, int], machine: str) -> set[str]:
    """What these packages need on a processor, by their own metadata."""
    environment = {**IMAGES_ENVIRONMENT, "platform_machine": machine}
    return {
        canonicalize_name(requirement.name)
        for name in packages
        for requirement in map(Requirement, distribution(name).requires or ())
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


def is_native(package: str) -> bool:
    """Whether what is installed of it here was made for this processor."""
    return "none-any" not in (distribution(package).read_text("WHEEL") or "")


@every_image
def test_a_dockerfile_names_no_processor(recipe: Recipe) -> None:
    assert PROCESSOR.findall((REPOSITORY_ROOT / recipe.dockerfile).read_text()) == []


@every_image
def test_nothing_is_copied_that_a_processor_would_have_to_run(recipe: Recipe) -> None:
    copied = copied_paths((REPOSITORY_ROOT / recipe.dockerfile).read_text())
    files = context_files(REPOSITORY_ROOT, copied)
    assert files
    assert [path for path in files if path.read_bytes().startswith(ELF)] == []


@every_image
def test_what_a_package_needs_on_arm64_alone_is_locked(recipe: Recipe) -> None:
    """The lock is made for amd64, and pip is told to resolve nothing: it would be missing without a word."""
    packages = hashes_by_package(REPOSITORY_ROOT / "requirements" / LOCKS[recipe.name])
    assert len(packages) > 10
    assert needed(packages, "aarch64") - needed(packages, "x86_64") - packages.keys() == set()


@every_image
def test_a_native_package_is_locked_for_more_than_one_processor(recipe: Recipe) -> None:
    packages = hashes_by_package(REPOSITORY_ROOT / "requirements" / LOCKS[recipe.name])
    native = {name: count for name, count in packages.items() if is_native(name)}
    assert native
    assert [name for name, count in native.items() if count == 1] == []
