"""The programs that build images: buildah, and docker where only that is there."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gemma_devcluster.errors import DevclusterError

FAILURE_LINES = 25
_CERTIFICATES = Path("/etc/ssl/certs")
_PIP_BUNDLE = _CERTIFICATES / "ca-certificates.crt"
_PASSED_PIP_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")


class ImageTool(Protocol):
    """What `build` needs of a program."""

    def build(self, dockerfile: Path, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Build a Dockerfile and name the result."""

    def export(self, reference: str, archive: Path) -> None:
        """Write an image as an archive that containerd, docker and kind load."""

    def remove(self, reference: str) -> None:
        """Forget an image; no error if it is not there."""


class Buildah:
    """buildah, without a daemon. Builds in a chroot, so it works inside containers as well."""

    def has(self, reference: str) -> bool:
        """Whether the image is in the local store."""
        return _returncode(["buildah", "inspect", "--type", "image", reference]) == 0

    def build(self, dockerfile: Path, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Build with the machine's network, certificates and pip settings, none of which stay in the image.

        Raises:
            DevclusterError: a step failed; the message holds its last lines.
        """
        with tempfile.TemporaryDirectory() as folder:
            pip_configuration = Path(folder) / ".config" / "pip" / "pip.conf"
            pip_configuration.parent.mkdir(parents=True)
            pip_configuration.write_text(pip_settings(os.environ))
            command = [
                *("buildah", "bud", "--layers", "--pull-never" if is_local(arguments) else "--pull"),
                *("--isolation", "chroot", "--network", "host"),
                # Same inputs, same bytes: no layer remembers when it was built.
                *("--timestamp", "0"),
                *("--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"),
                # A folder that every base has, so that no layer keeps an empty mount point.
                *("--volume", f"{folder}:/root"),
                *(f"--build-arg={name}={value}" for name, value in arguments.items()),
                *("--file", str(dockerfile), "--tag", reference, str(context)),
            ]
            _run(command, f"building {reference}")

    def export(self, reference: str, archive: Path) -> None:
        """Write an archive with uncompressed layers: it is imported on this machine, and often.

        Raises:
            DevclusterError: buildah failed.
        """
        # An OCI archive would be compressed whatever the options say (buildah 1.28): 17 s instead of 5 s.
        _run(
            ["buildah", "push", reference, f"docker-archive:{archive}:{reference}"], f"exporting {reference}"
        )

    def remove(self, reference: str) -> None:
        """Forget an image; no error if it is not there."""
        _returncode(["buildah", "rmi", reference])


class Docker:
    """The docker client and its daemon."""

    def build(self, dockerfile: Path, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Build.

        Raises:
            DevclusterError: a step failed; the message holds its last lines.
        """
        build_arguments = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        command = [
            "docker",
            "build",
            *build_arguments,
            "--file",
            str(dockerfile),
            "--tag",
            reference,
            str(context),
        ]
        _run(command, f"building {reference}")

    def export(self, reference: str, archive: Path) -> None:
        """Write a docker archive.

        Raises:
            DevclusterError: docker failed.
        """
        _run(["docker", "save", "--output", str(archive), reference], f"exporting {reference}")

    def remove(self, reference: str) -> None:
        """Forget an image; no error if it is not there."""
        _returncode(["docker", "image", "rm", reference])


def find_tool() -> Buildah | Docker:
    """buildah if it is installed, else docker if its daemon answers.

    Raises:
        DevclusterError: neither is there.
    """
    if shutil.which("buildah"):
        return Buildah()
    if shutil.which("docker") and _returncode(["docker", "info"]) == 0:
        return Docker()
    raise DevclusterError(
        "needs buildah, or docker with its daemon running, to build images, and has neither.\n"
        "  do: apt-get install -y --no-install-recommends buildah"
    )


def is_local(arguments: Mapping[str, str]) -> bool:
    """Whether everything that a build stands on is in the local store already."""
    bases = [arguments[name] for name in ("BASE", "BUILDER") if name in arguments]
    return all(base.startswith("localhost/") for base in bases)


def pip_settings(environment: Mapping[str, str]) -> str:
    """pip.conf for a build's RUN steps: the machine's certificates and its user's index."""
    lines = ["[global]", "disable-pip-version-check = true", "root-user-action = ignore"]
    if _PIP_BUNDLE.is_file():
        lines.append(f"cert = {_PIP_BUNDLE}")
    for variable in _PASSED_PIP_VARIABLES:
        if variable in environment:
            lines.append(
                f"{variable.removeprefix('PIP_').lower().replace('_', '-')} = {environment[variable]}"
            )
    return "\n".join(lines) + "\n"


def _run(command: list[str], purpose: str) -> None:
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-FAILURE_LINES:])
        raise DevclusterError(f"{purpose} failed (`{' '.join(command[:2])}`):\n{tail}")


def _returncode(command: list[str]) -> int:
    return subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode
