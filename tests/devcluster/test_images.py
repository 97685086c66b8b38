"""The image pipeline: what decides a tag, and what is in the images that it builds."""

import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gemma_devcluster import images
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.images import Image, layer_sizes
from gemma_devcluster.images.base import debian_base, ensure_in_store
from gemma_devcluster.images.commands import Buildah, is_local, pip_settings
from gemma_devcluster.images.recipes import (
    RECIPES,
    REPOSITORY_ROOT,
    Recipe,
    copied_paths,
    project_version,
    reference_of,
    select,
    tag_of,
)
from gemma_packaging.licences import SHIPPED
from support.image_bytes import parts_of

DOCKERFILE = """\
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE} AS source
# COPY nothing/here /comment
COPY app requirements.txt \\
     /opt/
FROM ${BASE}
COPY --chown=1000 LICENSE /licenses/LICENSE
COPY --from=source /opt /opt
"""
RECIPE = Recipe("toy", "Dockerfile", expected_seconds=1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    for name in ("app/main.py", "requirements.txt", "LICENSE", "README.md"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_copied_paths_are_those_from_the_build_context() -> None:
    assert copied_paths(DOCKERFILE) == ["app", "requirements.txt", "LICENSE"]


@pytest.mark.parametrize("name", ["Dockerfile", "app/main.py", "requirements.txt", "LICENSE"])
def test_a_changed_input_is_another_tag(tree: Path, name: str) -> None:
    before = tag_of(RECIPE, "base", tree)
    (tree / name).write_text((tree / name).read_text() + "# changed\n")
    assert tag_of(RECIPE, "base", tree) != before


def test_a_new_file_a_new_mode_and_another_base_are_other_tags(tree: Path) -> None:
    tags = [tag_of(RECIPE, "base", tree), tag_of(RECIPE, "another base", tree)]
    (tree / "app/main.py").chmod(0o755)
    tags.append(tag_of(RECIPE, "base", tree))
    (tree / "app/more.py").touch()
    tags.append(tag_of(RECIPE, "base", tree))
    assert len(set(tags)) == len(tags)


def test_what_is_not_copied_does_not_decide_the_tag(tree: Path) -> None:
    before = tag_of(RECIPE, "base", tree)
    (tree / "README.md").write_text("changed")
    (tree / "app/__pycache__").mkdir()
    (tree / "app/__pycache__/main.cpython-311.pyc").write_bytes(b"\0")
    assert tag_of(RECIPE, "base", tree) == before


def test_a_copy_of_something_absent_is_named(tree: Path) -> None:
    shutil.rmtree(tree / "app")
    with pytest.raises(DevclusterError, match="copies app, which does not exist"):
        tag_of(RECIPE, "base", tree)


def test_an_unknown_image_is_refused_with_those_there_are() -> None:
    with pytest.raises(DevclusterError, match=r"'gatway'.*operator, gateway, triton-cpu, weights-mirror"):
        select(["gatway"])


def test_images_are_built_in_a_fixed_order_whatever_was_asked_first() -> None:
    assert [recipe.name for recipe in select(["gateway", "operator"])] == ["operator", "gateway"]


def test_a_base_from_a_registry_is_looked_for_there() -> None:
    assert is_local({"BASE": "localhost/gemma-operator/base:1", "BUILDER": "localhost/x:1"})
    assert is_local({"BASE": "localhost/gemma-operator/base:1", "VERSION": "0.1.0"})
    assert not is_local(
        {"BASE": "localhost/gemma-operator/base:1", "BUILDER": "docker.io/library/python:3.11"}
    )


def test_the_users_package_index_reaches_the_build_and_nothing_else_does() -> None:
    text = pip_settings(
        {"PIP_INDEX_URL": "https://index.invalid/simple", "PIP_FIND_LINKS": "/opt", "HOME": "/x"}
    )
    assert "index-url = https://index.invalid/simple" in text
    assert "/opt" not in text
    assert "/x" not in text


def test_sizes_of_an_archive_tell_the_base_from_what_was_added(tmp_path: Path) -> None:
    for name, size in (("base.tar", 100), ("added.tar", 7), ("more.tar", 3)):
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "manifest.json").write_text(json.dumps([{"Layers": ["base.tar", "added.tar", "more.tar"]}]))
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name in ("base.tar", "added.tar", "more.tar", "manifest.json"):
            archive.add(tmp_path / name, name)
    assert layer_sizes(tmp_path / "image.tar") == (110, 10)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_dockerfile_defaults_to_public_bases_and_ends_as_another_user_than_root(recipe: Recipe) -> None:
    lines = (REPOSITORY_ROOT / recipe.dockerfile).read_text().splitlines()
    assert "ARG BASE=docker.io/library/python:3.11-slim-bookworm" in lines
    final = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER 1000:1000" in final


@pytest.mark.parametrize("recipe", select(list(SHIPPED)), ids=lambda recipe: recipe.name)
def test_an_image_that_ships_says_whose_it_is_and_where_to_read_on(recipe: Recipe) -> None:
    text = (REPOSITORY_ROOT / recipe.dockerfile).read_text()
    named = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text))
    assert named == {"title", "version", "description", "url", "documentation", "vendor", "licenses"}
    page = re.findall(r"documentation=\"https://gemma-operator\.dev/(\w+)\"", text)
    assert [(REPOSITORY_ROOT / "docs" / f"{name}.md").is_file() for name in page] == [True]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_dependencies_come_from_files_with_hashes_only(recipe: Recipe) -> None:
    text = (REPOSITORY_ROOT / recipe.dockerfile).read_text()
    assert text.count("pip install") == text.count("--require-hashes")


@pytest.mark.parametrize("name", ["operator", "serving", "triton-cpu", "weights-mirror", "dev"])
def test_lock_files_pin_with_hashes_and_name_no_index(name: str) -> None:
    text = (REPOSITORY_ROOT / "requirements" / f"{name}.txt").read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "index-url" not in text


class Contents:
    """Configuration and file names of a built image."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.names: set[str] = set()
        with tarfile.open(image.archive) as archive:
            manifest = _member(archive, "manifest.json")[0]
            self.config = _member(archive, manifest["Config"])["config"]
            self.tags = manifest["RepoTags"]
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                    self.names |= {name.removeprefix("./") for name in files.getnames()}

    def programs(self) -> set[str]:
        return {name.rpartition("/")[2] for name in self.names if "/bin/" in f"/{name}"}


def _member(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None, name
    return json.load(file)


@pytest.fixture(scope="module", params=[recipe.name for recipe in RECIPES])
def contents(request: pytest.FixtureRequest) -> Contents:
    return Contents(images.build([request.param])[request.param])


@pytest.mark.cluster
def test_an_image_is_named_by_its_content(contents: Contents) -> None:
    assert contents.tags == [contents.image.reference]
    tag = contents.image.reference.rpartition(":")[2]
    assert contents.image.reference == reference_of(contents.image.name, tag)


@pytest.mark.cluster
def test_an_image_runs_as_another_user_than_root_and_says_what_it_is(contents: Contents) -> None:
    assert contents.config["User"] == "1000:1000"
    labels = contents.config["Labels"]
    assert labels["org.opencontainers.image.title"].startswith("gemma-")
    assert labels["org.opencontainers.image.version"] == project_version()
    assert "Apache-2.0" in labels["org.opencontainers.image.licenses"]
    assert "licenses/LICENSE" in contents.names


@pytest.mark.cluster
def test_an_image_has_python_and_nothing_to_build_or_install_with(contents: Contents) -> None:
    programs = contents.programs()
    assert {"python", "python3", "sh"} <= programs
    assert programs.isdisjoint({"pip", "pip3", "pip3.11", "gcc", "cc", "g++", "make", "git", "uv"})
    packages = {name.split("/")[-1] for name in contents.names if "/pip" in name or "/setuptools" in name}
    assert packages.isdisjoint({"pip", "setuptools"})


@pytest.mark.cluster
def test_an_image_keeps_its_budget(contents: Contents) -> None:
    (recipe,) = select([contents.image.name])
    if recipe.budget_bytes is not None:
        assert contents.image.added_bytes <= recipe.budget_bytes


@pytest.mark.cluster
def test_nothing_of_the_build_stays_in_an_image(contents: Contents) -> None:
    assert not [name for name in contents.names if name.endswith("pip.conf")]
    assert not [name for name in contents.names if name.startswith(("tmp/", "root/.config"))]
    assert not [variable for variable in contents.config["Env"] if "CERT" in variable or "PIP" in variable]


@pytest.mark.cluster
def test_credentials_of_the_machine_that_builds_stay_out_of_every_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip reads an index with a password during the build; neither that nor a token is in the archive."""
    password, token = "planted-index-password-6d1f", "hf_plantedwhileimagesarebuilt"
    monkeypatch.setenv("PIP_INDEX_URL", f"https://reader:{password}@index.invalid/simple")
    monkeypatch.setenv("HF_TOKEN", token)
    base = debian_base(images.cache_folder())
    tool = Buildah()
    ensure_in_store(base, images.cache_folder(), tool)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        f"FROM {base.builder}\nRUN python3 -m pip config get global.index-url | wc --chars >/opt/seen\n"
    )
    reference, archive = "localhost/gemma-operator/planted:test", tmp_path / "planted.tar"
    try:
        tool.build(dockerfile, tmp_path, reference, {"BASE": base.base})
        tool.export(reference, archive)
    finally:
        tool.remove(reference)
    *_, (_, last_layer) = parts_of(archive)
    length = len(f"https://reader:{password}@index.invalid/simple\n")
    assert f"{length}\n".encode() in last_layer, "the build did not see the index, so this proves nothing"
    whole = archive.read_bytes()
    assert [planted for planted in (password, token) if planted.encode() in whole] == []


@pytest.mark.cluster
def test_triton_lies_where_nvidias_image_has_it() -> None:
    names = Contents(images.build(["triton-cpu"])["triton-cpu"]).names
    assert "opt/tritonserver/bin/tritonserver" in names
    assert "opt/tritonserver/backends/python/triton_python_backend_stub" in names
    assert "opt/tritonserver/caches/local/libtritoncache_local.so" in names


@pytest.mark.cluster
def test_a_second_build_takes_everything_from_the_cache() -> None:
    first = images.build(["weights-mirror"])
    written = [image.archive.stat().st_mtime_ns for image in first.values()]
    second = images.build(["weights-mirror"])
    assert second == first
    assert [image.archive.stat().st_mtime_ns for image in second.values()] == written
