"""Image archives: writing images FROM scratch that hold one static program, and reading others' names."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from gemma_devcluster.errors import DevclusterError

REGISTRY = "localhost/gemma-devcluster"
TAG_LENGTH = 12
_NONROOT = "65532:65532"


def scratch_image_name(program: Path) -> str:
    """`localhost/gemma-devcluster/PROGRAM:CONTENTHASH`."""
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    return f"{REGISTRY}/{program.name}:{digest[:TAG_LENGTH]}"


def scratch_image(program: Path) -> bytes:
    """A docker archive whose image runs `/PROGRAM` as a non-root user. Same program, same bytes."""
    layer = _tar({program.name: program.read_bytes()}, mode=0o755)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": _NONROOT},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [scratch_image_name(program)], "Layers": ["layer.tar"]}]
    files = {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
    }
    return _tar(files, mode=0o644)


def image_names(archive: Path) -> list[str]:
    """The names under which an OCI or docker archive will be known, without its layers being read.

    Raises:
        DevclusterError: it is not such an archive, or it names nothing.
    """
    try:
        with tarfile.open(archive) as tar:
            names = _docker_names(tar) or _oci_names(tar)
    except (tarfile.TarError, json.JSONDecodeError, KeyError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise DevclusterError(
            f"{archive} is not an OCI or docker image archive ({reason}); "
            "make one with `buildah push IMAGE docker-archive:FILE:NAME:TAG` or `docker save`"
        ) from error
    if not names:
        raise DevclusterError(f"{archive} names no image; write it as `docker-archive:FILE:NAME:TAG`")
    return names


def _docker_names(tar: tarfile.TarFile) -> list[str]:
    manifests = _json(tar, "manifest.json") or []
    return [name for manifest in manifests for name in manifest.get("RepoTags") or []]


def _oci_names(tar: tarfile.TarFile) -> list[str]:
    index = _json(tar, "index.json") or {"manifests": []}
    annotations = [manifest.get("annotations", {}) for manifest in index["manifests"]]
    # containerd's own key, then the OCI image specification's.
    names = [
        a.get("io.containerd.image.name") or a.get("org.opencontainers.image.ref.name") for a in annotations
    ]
    return [name for name in names if name]


def _json(tar: tarfile.TarFile, name: str) -> Any:
    try:
        file = tar.extractfile(name)
    except KeyError:
        return None
    return json.load(file) if file else None


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
