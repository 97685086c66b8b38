"""Builds our images from their Dockerfiles, tagged by content; what is unchanged is not built again.

>>> from gemma_devcluster import images
>>> built = images.build(["operator"])  # doctest: +SKIP
>>> built["operator"].reference  # doctest: +SKIP
'localhost/gemma-operator/operator:0f3a…'
"""

import fcntl
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.images import base as bases
from gemma_devcluster.images.base import Base, public_base
from gemma_devcluster.images.commands import Buildah, ImageTool, find_tool
from gemma_devcluster.images.recipes import (
    REPOSITORY_ROOT,
    Recipe,
    project_version,
    reference_of,
    select,
    tag_of,
)
from gemma_devcluster.progress import BuildProgress

__all__ = ["Image", "build", "cache_folder", "public_base"]

KEPT_ARCHIVES = 3
"""Per image: this one and two before it, so that going back to an earlier commit builds nothing."""


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        name: `operator`, `gateway`, `triton-cpu` or `weights-mirror`.
        reference: as pods write it.
        archive: file for `ctr images import`, `kind load image-archive` or `docker load`.
        size_bytes: all layers, uncompressed.
        added_bytes: the layers above the base.
    """

    name: str
    reference: str
    archive: Path
    size_bytes: int
    added_bytes: int


def cache_folder() -> Path:
    """Where archives are kept: `$XDG_CACHE_HOME` or `~/.cache`, under `gemma-operator/images`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "gemma-operator" / "images"


def build(
    names: Sequence[str] | None = None, *, base: Base | None = None, cache: Path | None = None
) -> dict[str, Image]:
    """Build the named images (all by default) that the cache does not hold, and describe each.

    Args:
        names: which images.
        base: what to build on; by default a Debian made on this machine.
        cache: where archives are kept.

    Raises:
        DevclusterError: an unknown name, a missing program, or a failed build with its last lines.
    """
    recipes = select(None if names is None else list(names))
    cache = cache or cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "build.lock"):
        if base is None:
            base = _debian_base(cache)
        targets = {recipe: _target(recipe, base, cache) for recipe in recipes}
        absent = [recipe for recipe, target in targets.items() if not target.with_suffix(".json").is_file()]
        if absent:
            _build_absent(absent, targets, base, cache)
    return {recipe.name: _read(target) for recipe, target in targets.items()}


def _debian_base(cache: Path) -> Base:
    if any(cache.glob("base-*/base.json")):
        return bases.debian_base(cache)
    with BuildProgress({"base": bases.EXPECTED_SECONDS}) as progress:
        progress.start("base")
        made = bases.debian_base(cache)
        progress.finish("base")
    return made


def _target(recipe: Recipe, base: Base, cache: Path) -> Path:
    tag = tag_of(recipe, f"{base.identity} {project_version()}")
    return cache / f"{recipe.name}-{tag}.tar"


def _build_absent(absent: list[Recipe], targets: dict[Recipe, Path], base: Base, cache: Path) -> None:
    tool = find_tool()
    with BuildProgress({recipe.name: recipe.expected_seconds for recipe in absent}) as progress:
        for recipe in absent:
            progress.start(recipe.name)
            if base.base.startswith("localhost/"):
                _ensure_local_base(base, cache, tool)
            _build_one(recipe, targets[recipe], base, tool)
            progress.finish(recipe.name)


def _ensure_local_base(base: Base, cache: Path, tool: ImageTool) -> None:
    if not isinstance(tool, Buildah):
        raise DevclusterError(
            "a base made on this machine needs buildah; with docker name one from a registry\n"
            "  do: devcluster images build --base docker.io/library/python:3.11-slim-bookworm"
        )
    bases.ensure_in_store(base, cache, tool)


def _build_one(recipe: Recipe, archive: Path, base: Base, tool: ImageTool) -> None:
    reference = reference_of(recipe.name, archive.stem.removeprefix(f"{recipe.name}-"))
    arguments = {"BASE": base.base, "BUILDER": base.builder, "VERSION": project_version()}
    tool.build(REPOSITORY_ROOT / recipe.dockerfile, REPOSITORY_ROOT, reference, arguments)
    scratch = archive.with_suffix(f".{os.getpid()}.tmp")
    try:
        tool.export(reference, scratch)
        total, added = layer_sizes(scratch)
        scratch.replace(archive)
    finally:
        scratch.unlink(missing_ok=True)
    image = Image(recipe.name, reference, archive, total, added)
    archive.with_suffix(".json").write_text(json.dumps(asdict(image), default=str))
    _forget_older(recipe, archive.parent, tool)


def _forget_older(recipe: Recipe, cache: Path, tool: ImageTool) -> None:
    described = sorted(
        cache.glob(f"{recipe.name}-*.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in described[KEPT_ARCHIVES:]:
        tool.remove(json.loads(path.read_text())["reference"])
        path.unlink()
        path.with_suffix(".tar").unlink(missing_ok=True)


def _read(archive: Path) -> Image:
    fields = json.loads(archive.with_suffix(".json").read_text())
    return Image(**{**fields, "archive": archive})


def layer_sizes(archive: Path) -> tuple[int, int]:
    """Bytes of all layers of an archive, and of those above the first, which is the base."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        if manifest is None:
            raise DevclusterError(f"{archive} is no image archive: it has no manifest.json")
        sizes = [tar.getmember(layer).size for layer in json.load(manifest)[0]["Layers"]]
    return sum(sizes), sum(sizes[1:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs side by side build each image once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
