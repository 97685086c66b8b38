"""The base images: Debian 12 with Python 3.11 made by mmdebstrap, and the same with pip to build in.

They stand in for `python:3.11-slim-bookworm` where no registry can be reached.
"""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.images.commands import Buildah
from gemma_devcluster.images.recipes import REPOSITORY_ROOT, TAG_LENGTH, reference_of

SUITE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "python3",
    "python-is-python3",
    "libpython3.11",  # Triton's Python stub links it
    "libgomp1",  # llama.cpp's threads
    "libstdc++6",
    "zlib1g",
)
# init-system-helpers takes `usrmerge | usr-is-merged`, and apt the first, which brings 50 MB of perl.
_FORBID_USRMERGE = (
    'printf "Package: usrmerge\\nPin: release *\\nPin-Priority: -1\\n" >"$1"/etc/apt/preferences.d/base'
)
_HOOKS = (
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    f"--setup-hook={_FORBID_USRMERGE}",
    '--customize-hook=rm "$1"/etc/apt/preferences.d/base',
)
_SLIM = (
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    '--aptopt=Acquire::Languages "none"',
)
EXPECTED_SECONDS = 70
"""mmdebstrap 57 s, builder 15 s (2 cores, 2026-11)."""
_DOCKERFILES = REPOSITORY_ROOT / "devcluster" / "images"


@dataclass(frozen=True)
class Base:
    """What the Dockerfiles build on.

    Attributes:
        base: reference for `ARG BASE`.
        builder: reference for `ARG BUILDER`.
        identity: changes whenever the base's bytes do; part of every tag.
    """

    base: str
    builder: str
    identity: str


def public_base(base: str, builder: str | None = None) -> Base:
    """A base from a registry; pin it by digest to make tags say what is inside."""
    return Base(base=base, builder=builder or base, identity=f"{base} {builder or base}")


def debian_base(cache: Path) -> Base:
    """Names of the Debian base; its tar is made now if the cache lacks it.

    Raises:
        DevclusterError: mmdebstrap is missing or failed.
    """
    archive = _debian_archive(cache)
    digest = json.loads(archive.with_suffix(".json").read_text())["sha256"]
    recipe = "".join(path.read_text() for path in sorted(_DOCKERFILES.glob("Dockerfile.*")))
    tag = hashlib.sha256((digest + recipe).encode()).hexdigest()[:TAG_LENGTH]
    return Base(reference_of("base", tag), reference_of("builder", tag), identity=tag)


def ensure_in_store(base: Base, cache: Path, tool: Buildah) -> None:
    """Put base and builder into buildah's store, where a build looks for them.

    Raises:
        DevclusterError: buildah failed.
    """
    if not tool.has(base.base):
        tool.build(_DOCKERFILES / "Dockerfile.base", _debian_archive(cache).parent, base.base, {})
    if not tool.has(base.builder):
        tool.build(_DOCKERFILES / "Dockerfile.builder", _DOCKERFILES, base.builder, {"BASE": base.base})


def _debian_archive(cache: Path) -> Path:
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        *_HOOKS,
        *_SLIM,
    ]
    folder = cache / f"base-{hashlib.sha256(repr((command, SUITE)).encode()).hexdigest()[:TAG_LENGTH]}"
    archive = folder / "base.tar"
    if archive.with_suffix(".json").is_file():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"base.{os.getpid()}.tar"
    try:
        _run_mmdebstrap([*command, SUITE, str(scratch)])
        with scratch.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        scratch.replace(archive)
    finally:
        scratch.unlink(missing_ok=True)
    archive.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    return archive


def _run_mmdebstrap(command: list[str]) -> None:
    # The epoch clamps every timestamp inside the tar.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    try:
        done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise DevclusterError(
            "needs mmdebstrap to make the base image: apt-get install -y --no-install-recommends mmdebstrap\n"
            "  or: devcluster images build --base docker.io/library/python:3.11-slim-bookworm"
        ) from error
    if done.returncode:
        tail = "\n".join(f"    {line}" for line in done.stderr.splitlines()[-10:])
        raise DevclusterError(
            f"mmdebstrap failed:\n{tail}\n  do: check that Debian's mirror answers; run again"
        )
