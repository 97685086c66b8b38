"""Whether the files of a release name one version: read from the files, not from what they were made of."""

import json
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

import yaml

CHART = "gemma-operator"
VERSION_LABEL = "org.opencontainers.image.version"
IMAGE_VALUES = "image-values.yaml"


def disagreements_of_files(folder: Path, version: str) -> list[str]:
    """What in a folder names another version or image, or is missing; empty when all agree."""
    problems = [f"{place} is {said}, not {version}" for place, said in _versions(folder) if said != version]
    problems += [f"there is no {what}" for what in ("wheel", "chart") if not _files(folder, what)]
    return problems + _images_that_values_do_not_name(folder)


def _files(folder: Path, what: str) -> list[Path]:
    patterns = {"wheel": "*.whl", "chart": f"{CHART}-*.tgz", "image": "*.tar"}
    return sorted(folder.glob(patterns[what]))


def _versions(folder: Path) -> Iterator[tuple[str, str]]:
    """(place, version) of everything that has one."""
    for wheel in _files(folder, "wheel"):
        yield f"the version of {wheel.name}", wheel_version(wheel)
    for chart in _files(folder, "chart"):
        about = chart_about(chart)
        yield f"the version of {chart.name}", str(about["version"])
        yield f"the appVersion of {chart.name}", str(about["appVersion"])
    for image in _files(folder, "image"):
        _, labels = image_about(image)
        yield f"the label {VERSION_LABEL} of {image.name}", labels.get(VERSION_LABEL, "absent")


def _images_that_values_do_not_name(folder: Path) -> list[str]:
    images = _files(folder, "image")
    if not images:
        return []
    named = yaml.safe_load((folder / IMAGE_VALUES).read_text())["images"].values()
    wanted = {f"{image['name']}:{image['tag']}" for image in named}
    found = {image_about(image)[0].rpartition("/")[2] for image in images}
    return [
        *(f"{IMAGE_VALUES} names {name}, of which there is no archive" for name in sorted(wanted - found)),
        *(
            f"{IMAGE_VALUES} does not name {name}, of which there is an archive"
            for name in sorted(found - wanted)
        ),
    ]


def wheel_version(wheel: Path) -> str:
    """What its metadata says, which pip believes rather than the file's name."""
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return str(Parser().parsestr(archive.read(metadata).decode())["Version"])


def chart_about(chart: Path) -> dict[str, Any]:
    """Its Chart.yaml."""
    with tarfile.open(chart) as archive:
        about: dict[str, Any] = yaml.safe_load(_member(archive, f"{CHART}/Chart.yaml"))
        return about


def image_about(image: Path) -> tuple[str, dict[str, str]]:
    """Reference and labels of an image's archive."""
    with tarfile.open(image) as archive:
        [manifest] = json.loads(_member(archive, "manifest.json"))
        config = json.loads(_member(archive, manifest["Config"]))
        return str(manifest["RepoTags"][0]), dict(config["config"].get("Labels") or {})


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()
