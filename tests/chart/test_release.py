"""A release is made of files that name one version, and stops where one names another."""

import json
import tarfile
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from gemma_operator import __version__
from gemma_packaging.__main__ import ROOT
from gemma_packaging.agreement import disagreements_of_files
from gemma_packaging.release import ReleaseError, release

VERSION = "1.2.3"
VALUES = "images:\n  operator: {name: operator, tag: abc}\n"


def archive(path: Path, files: Mapping[str, str]) -> None:
    """A tar of these texts by name."""
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, BytesIO(text.encode()))


def image(path: Path, tag: str, version: str) -> None:
    config = {"config": {"Labels": {"org.opencontainers.image.version": version}}}
    manifest = [{"Config": "c.json", "RepoTags": [f"localhost/x/operator:{tag}"], "Layers": []}]
    archive(path, {"manifest.json": json.dumps(manifest), "c.json": json.dumps(config)})


def wheel(path: Path, version: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("gemma_operator-1.dist-info/METADATA", f"Metadata-Version: 2.4\nVersion: {version}\n")


def chart(path: Path, version: str, app_version: str) -> None:
    about = f"name: gemma-operator\nversion: {version}\nappVersion: {app_version}\n"
    archive(path, {"gemma-operator/Chart.yaml": about})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release of which all agrees."""
    wheel(tmp_path / "gemma_operator-1.2.3-py3-none-any.whl", VERSION)
    chart(tmp_path / "gemma-operator-1.2.3.tgz", VERSION, VERSION)
    image(tmp_path / "operator.tar", "abc", VERSION)
    (tmp_path / "image-values.yaml").write_text(VALUES)
    return tmp_path


def test_files_of_one_version_agree(folder: Path) -> None:
    assert disagreements_of_files(folder, VERSION) == []


def test_a_wheel_whose_metadata_say_otherwise_is_named(folder: Path) -> None:
    wheel(folder / "gemma_operator-1.2.3-py3-none-any.whl", "1.2.2")
    assert disagreements_of_files(folder, VERSION) == [
        "the version of gemma_operator-1.2.3-py3-none-any.whl is 1.2.2, not 1.2.3"
    ]


def test_a_chart_of_another_version_of_the_operator_is_named(folder: Path) -> None:
    chart(folder / "gemma-operator-1.2.3.tgz", VERSION, "1.2.2")
    assert disagreements_of_files(folder, VERSION) == [
        "the appVersion of gemma-operator-1.2.3.tgz is 1.2.2, not 1.2.3"
    ]


def test_an_image_of_another_version_is_named(folder: Path) -> None:
    image(folder / "operator.tar", "abc", "1.2.2")
    assert disagreements_of_files(folder, VERSION) == [
        "the label org.opencontainers.image.version of operator.tar is 1.2.2, not 1.2.3"
    ]


def test_values_that_name_another_image_than_there_is_are_named(folder: Path) -> None:
    image(folder / "operator.tar", "def", VERSION)
    assert disagreements_of_files(folder, VERSION) == [
        "image-values.yaml names operator:abc, of which there is no archive",
        "image-values.yaml does not name operator:def, of which there is an archive",
    ]


@pytest.mark.parametrize(("file", "what"), [("*.whl", "wheel"), ("*.tgz", "chart")])
def test_what_is_missing_is_named(folder: Path, file: str, what: str) -> None:
    for path in folder.glob(file):
        path.unlink()
    assert disagreements_of_files(folder, VERSION) == [f"there is no {what}"]


def test_a_release_is_not_made_into_a_folder_with_files(folder: Path) -> None:
    with pytest.raises(ReleaseError, match="holds files already"):
        release(ROOT, folder, images=False)


@pytest.mark.cluster
def test_a_release_of_this_tree_is_whole(tmp_path: Path) -> None:
    """Without images, which cost minutes where one has changed; what they carry is tests/devcluster's."""
    target = tmp_path / "dist"
    release(ROOT, target, images=False)
    names = {path.name for path in target.iterdir()}
    assert names >= {f"gemma-operator-{__version__}.tgz", "crd.yaml", "provenance.json", "SHA256SUMS"}
    assert {f"{image}.cdx.json" for image in ("operator", "gateway", "triton-cpu")} <= names
    summed = {line.split("  ")[1] for line in (target / "SHA256SUMS").read_text().splitlines()}
    assert summed == names - {"SHA256SUMS"}
    [built] = target.glob("*.whl")
    with zipfile.ZipFile(built) as wheel_file:
        inside = wheel_file.namelist()
        [scripts] = [name for name in inside if name.endswith("entry_points.txt")]
        assert b"gemma-operator = gemma_operator.__main__:main" in wheel_file.read(scripts)
    assert "gemma_operator/catalog/data/accelerators.yaml" in inside, "the command plans without a checkout"
    assert json.loads((target / "provenance.json").read_text())["version"] == __version__
