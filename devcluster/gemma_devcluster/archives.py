"""Container images FROM scratch that hold one static program, written as docker archives."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

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


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
