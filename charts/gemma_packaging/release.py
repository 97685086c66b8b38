"""Everything of one version in one folder: wheel, chart, CRD, images, SBOMs, provenance, checksums.

The version is written once, in operator/gemma_operator/__init__.py; whatever disagrees stops the release.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import yaml

from gemma_devcluster import builder, images
from gemma_devcluster.images.recipes import project_version
from gemma_packaging.agreement import IMAGE_VALUES, disagreements_of_files
from gemma_packaging.licences import SHIPPED

CRD = "crds/serving.gemma-operator.dev_gemmadeployments.yaml"
CHUNK_BYTES = 1 << 20


class ReleaseError(RuntimeError):
    """The parts of a release do not agree, or a tool failed; the text says which and why."""


def release(root: Path, target: Path, *, base: str | None = None, images: bool = True) -> str:
    """Make the release; returns the list of its files with sizes.

    Args:
        root: the repository.
        target: folder for the files; has to be empty or absent.
        base: image from a registry to build on; None: a Debian made on this machine.
        images: build them as well.
    """
    version = project_version(root)
    if problems := disagreements(root, version):
        raise ReleaseError("; ".join(problems))
    if target.exists() and any(target.iterdir()):
        raise ReleaseError(f"{target} holds files already: a release is made into an empty folder; move them")
    target.mkdir(parents=True, exist_ok=True)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target), cwd=root)
    _run(_helm(), "package", "charts/gemma-operator", "-d", str(target), cwd=root)
    (target / "crd.yaml").write_text((root / CRD).read_text())
    for image, file in SHIPPED.items():
        write_sbom(root, root / "requirements" / file, target / f"{image}.cdx.json")
    built = _images(target, base) if images else {}
    if built:
        (target / IMAGE_VALUES).write_text(image_values(built))
    if problems := disagreements_of_files(target, version):
        raise ReleaseError("; ".join(problems))
    (target / "provenance.json").write_text(json.dumps(provenance(root, version, built), indent=2) + "\n")
    (target / "SHA256SUMS").write_text(checksums(target))
    return "\n".join(
        f"{path.stat().st_size:>12} {path.name}" for path in sorted(target.iterdir()) if path.is_file()
    )


def disagreements(root: Path, version: str) -> list[str]:
    """Places that name another version, or none; empty when all agree."""
    chart = yaml.safe_load((root / "charts/gemma-operator/Chart.yaml").read_text())
    found = {
        "version of charts/gemma-operator/Chart.yaml": chart["version"],
        "appVersion of charts/gemma-operator/Chart.yaml": chart["appVersion"],
    }
    problems = [f"{place} is {said}, not {version}" for place, said in found.items() if said != version]
    if not re.search(rf"^## .*\b{re.escape(version)}\b", (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        problems.append(f"CHANGELOG.md has no heading for {version}")
    return problems


def write_sbom(root: Path, requirements: Path, target: Path) -> None:
    """CycloneDX of the packages in a lock file, with their hashes; the same bytes for the same lock file."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(requirements)]
    options = ["--pyproject", str(root / "pyproject.toml"), "--output-reproducible", "-o", str(target)]
    _run(*command, *options, cwd=root)


def provenance(root: Path, version: str, built: dict[str, images.Image]) -> dict[str, object]:
    """What was built from what: commit, state of the tree, toolchain, images with sizes. Not signed."""
    git = ("git", "-C", str(root))
    return {
        "version": version,
        "commit": _run(*git, "rev-parse", "HEAD").strip(),
        "treeIsClean": not _run(*git, "status", "--porcelain", "--untracked-files=no").strip(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "lockFiles": {
            f"requirements/{file}": _digest(root / "requirements" / file) for file in SHIPPED.values()
        },
        "images": {
            name: {"reference": image.reference, "bytes": image.size_bytes, "overBase": image.added_bytes}
            for name, image in built.items()
        },
    }


def image_values(built: dict[str, images.Image]) -> str:
    """Values that make the chart name exactly these images, whatever registry they are pushed to."""
    keys = {"operator": "operator", "gateway": "gateway", "triton-cpu": "tritonCpu"}
    named = {
        keys[name]: {"name": name, "tag": image.reference.rpartition(":")[2]} for name, image in built.items()
    }
    return yaml.safe_dump({"images": named}, sort_keys=False)


def checksums(folder: Path) -> str:
    """`sha256sum -c` reads it."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{_digest(path)}  {path.name}\n" for path in files)


def _images(target: Path, base: str | None) -> dict[str, images.Image]:
    built = images.build(list(SHIPPED), base=images.public_base(base) if base else None)
    for name, image in built.items():
        # The archive stays in the cache as well: a hard link costs no disk.
        archive = target / f"{name}.tar"
        try:
            os.link(image.archive, archive)
        except OSError:
            archive.write_bytes(image.archive.read_bytes())
    return built


def _helm() -> str:
    return str(builder.ensure().path("helm"))


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"`{' '.join(command)}` failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
