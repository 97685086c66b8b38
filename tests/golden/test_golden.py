"""Each example, rendered, file by file. A change here is a change of what users run: review it as a diff."""

import shutil
from pathlib import Path

import kubernetes_validate
import pytest

from gemma_operator.cli.documents import read_resources, read_settings
from gemma_operator.cli.render import render, to_yaml

HERE = Path(__file__).parent
EXAMPLES = sorted((HERE.parents[1] / "examples").glob("*.yaml"))
SHAPES = sorted((HERE.parent / "data" / "shapes").glob("*.yaml"))
"""One per kind of pod that hardware and models make."""
SHAPED_KINDS = frozenset({"ConfigMap", "Deployment"})
"""The others do not depend on the shape."""
SETTINGS = read_settings(str(HERE / "settings.yaml"))
NAMESPACE = "default"
KUBERNETES = "1.36"
every_example = pytest.mark.parametrize("example", [*EXAMPLES, *SHAPES], ids=lambda path: path.stem)


def rendered(example: Path) -> dict[str, str]:
    """File name → content."""
    (resource,) = read_resources(str(example))
    return {
        f"{manifest['kind'].lower()}-{manifest['metadata']['name']}.yaml": to_yaml([manifest])
        for manifest in render(resource, SETTINGS, (), NAMESPACE)
        if example in EXAMPLES or manifest["kind"] in SHAPED_KINDS
    }


def folder_of(example: Path) -> Path:
    return HERE / (example.stem if example in EXAMPLES else f"shape-{example.stem}")


@every_example
def test_example_renders_as_recorded(example: Path, request: pytest.FixtureRequest) -> None:
    folder = folder_of(example)
    files = rendered(example)
    if request.config.getoption("--update-golden", default=False):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
    assert files == {path.name: path.read_text() for path in sorted(folder.glob("*.yaml"))}, (
        "run `make golden` and review the diff"
    )


@every_example
def test_example_is_valid_for_kubernetes(example: Path) -> None:
    (resource,) = read_resources(str(example))
    for manifest in render(resource, SETTINGS, (), NAMESPACE):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_no_golden_folder_is_left_without_its_example() -> None:
    folders = {path.name for path in HERE.iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert folders == {folder_of(example).name for example in (*EXAMPLES, *SHAPES)}
