"""Values that the pages tell readers to set are ones that chart and operator know."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from chart.conftest import CHART, Render
from gemma_operator.settings import parse_settings

pytestmark = pytest.mark.cluster

ROOT = CHART.parents[1]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", CHART / "README.md", *ROOT.glob("devcluster/*.md")]
)
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
_SET = re.compile(r"--set ([\w.]+=[^\s`]+)")
_FILE = re.compile(r"--values (charts/[^\s`]+)")
_YAML = re.compile(r"^( *)```yaml\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
FORGETFUL = re.compile(r"helm upgrade(?:[^`\n]|\\\n)*--reuse-values")
"""It keeps the old chart's defaults: a newer chart's templates then miss their values."""


def found(pattern: re.Pattern[str]) -> list[str]:
    return sorted({match for page in PAGES for match in pattern.findall(page.read_text())})


def value_blocks() -> dict[str, str]:
    """Name to text of the YAML blocks that are values of the chart."""
    blocks = {}
    for page in PAGES:
        for number, (_, text) in enumerate(_YAML.findall(page.read_text())):
            documents = list(yaml.safe_load_all(text))
            if all(isinstance(each, dict) and each.keys() <= VALUES.keys() for each in documents):
                blocks[f"{page.stem}-{number}"] = textwrap.dedent(text)
    return blocks


def accepted(render: Render, *arguments: str) -> None:
    """Chart and operator take it: the schema by rendering, the settings by parsing what was rendered."""
    documents = render(*arguments)
    [settings] = [d["data"]["settings.yaml"] for d in documents if "settings.yaml" in d.get("data", {})]
    parse_settings(settings)


@pytest.mark.parametrize("pair", found(_SET))
def test_a_value_that_a_page_sets_is_known(render: Render, pair: str) -> None:
    accepted(render, "--set", pair)


@pytest.mark.parametrize("file", found(_FILE))
def test_a_file_of_values_that_a_page_names_renders(render: Render, file: str) -> None:
    accepted(render, "--values", str(ROOT / file))


@pytest.mark.parametrize("text", value_blocks().values(), ids=value_blocks().keys())
def test_values_written_out_in_a_page_are_known(render: Render, text: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    accepted(render, "--values", str(file))


def test_the_pages_have_values() -> None:
    assert len(found(_SET)) > 10
    assert found(_FILE)
    assert value_blocks()


def test_no_page_upgrades_with_the_old_charts_defaults() -> None:
    forgetful = [page.name for page in PAGES if FORGETFUL.search(page.read_text())]
    assert forgetful == [], "write --reset-then-reuse-values"


def test_the_page_on_installing_lists_every_shape() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    assert [path.name for path in sorted(CHART.glob("ci/*-values.yaml")) if path.name not in page] == []
