"""What is generated for packaging is current, licences may ship, and one version is named everywhere."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from gemma_devcluster.images import Image
from gemma_operator import __version__
from gemma_packaging import licences
from gemma_packaging.__main__ import ROOT, stale
from gemma_packaging.licences import Package, UnknownLicenceError
from gemma_packaging.release import CRD, checksums, disagreements, image_values, write_sbom
from gemma_packaging.values import values_of

CHART = ROOT / "charts" / "gemma-operator"


def test_generated_files_are_current() -> None:
    assert stale() == [], "run `make packaging`"


def test_every_value_is_documented() -> None:
    values = values_of((CHART / "values.yaml").read_text())
    assert len(values) > 50
    assert [value.path for value in values if not value.comment] == []


def test_a_value_without_a_comment_is_noticed() -> None:
    documented, silent = values_of("# Yes.\na: 1\nb: 2\n")
    assert (documented.comment, silent.comment) == ("Yes.", "")


def test_a_block_without_comments_inside_is_one_value() -> None:
    [value] = values_of("# What it may use.\nresources:\n  limits: {cpu: 1}\n")
    assert value.default == "{limits: {cpu: 1}}"


@pytest.mark.parametrize("file", licences.SHIPPED.values())
def test_nothing_ships_under_a_licence_that_may_not(file: str) -> None:
    packages = licences.packages_of(ROOT / "requirements" / file)
    assert len(packages) > 2
    assert licences.refused(packages) == []


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", False),
        ("GPL-3.0-only OR MIT", False),
        ("Apache-2.0 AND AGPL-3.0-or-later", True),
        ("GPL-2.0-only", True),
        ("(MIT AND BSD-3-Clause)", False),
        ("Proprietary", True),
    ],
)
def test_copyleft_is_refused_unless_there_is_another_choice(licence: str, refused: bool) -> None:
    assert bool(Package("some-package", "1", licence).refused()) is refused


def test_a_package_that_nobody_knows_is_no_licence() -> None:
    with pytest.raises(UnknownLicenceError, match="no-such-package"):
        licences.licence_of("no-such-package")


def test_the_tree_names_one_version() -> None:
    assert disagreements(ROOT, __version__) == []


def test_another_version_anywhere_stops_a_release() -> None:
    assert len(disagreements(ROOT, "9.9.9")) == 3


@pytest.mark.parametrize("file", licences.SHIPPED.values())
def test_an_sbom_names_every_locked_package_with_its_hashes(tmp_path: Path, file: str) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    lock = ROOT / "requirements" / file
    write_sbom(ROOT, lock, first)
    write_sbom(ROOT, lock, second)
    assert first.read_bytes() == second.read_bytes()
    components = json.loads(first.read_text())["components"]
    assert [(c["name"], c["version"]) for c in components] == licences.locked(lock)
    for component in components:
        assert any(reference.get("hashes") for reference in component["externalReferences"])


def test_checksums_cover_every_file_but_themselves(tmp_path: Path) -> None:
    shutil.copy(ROOT / "LICENSE", tmp_path / "a")
    (tmp_path / "SHA256SUMS").write_text("old")
    lines = checksums(tmp_path).splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a"]


def test_a_release_names_its_images_in_values_of_the_chart() -> None:
    built = {name: Image(name, f"localhost/x/{name}:abc", Path("x.tar"), 2, 1) for name in licences.SHIPPED}
    named = yaml.safe_load(image_values(built))["images"]
    known = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    assert {key: value["name"] for key, value in named.items()} == {
        key: known[key]["name"] for key in ("operator", "gateway", "tritonCpu")
    }
    assert {value["tag"] for value in named.values()} == {"abc"}


def test_the_released_crd_is_the_charts() -> None:
    released = yaml.safe_load((ROOT / CRD).read_text())
    assert released["metadata"]["name"] in (CHART / "templates" / "crd.yaml").read_text()


def test_artifact_hub_is_told_what_it_asks_for() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    assert about["artifacthub.io/license"] == "Apache-2.0"
    for key in ("crds", "crdsExamples", "changes", "links"):
        entries = yaml.safe_load(about[f"artifacthub.io/{key}"])
        assert isinstance(entries, list)
        assert entries
    assert {entry["kind"] for entry in yaml.safe_load(about["artifacthub.io/changes"])} <= {
        "added", "changed", "deprecated", "removed", "fixed", "security",
    }  # fmt: skip
