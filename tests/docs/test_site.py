"""The documentation builds, its links lead somewhere, and its commands are ones that exist and work."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gemma_operator.__main__ import main
from gemma_operator.cli.documents import read_resources
from gemma_operator.cli.render import render
from gemma_operator.settings import OperatorSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
OFFLINE_COMMANDS = ("plan", "recommend", "explain", "render")
PLACEHOLDER = re.compile(r"(?<![-=\w])[A-Z]{4,}\b")
"""A word such as FILE or NAME stands for something of the reader's."""


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _FENCE.findall(page.read_text()) if language in languages]


def build(config: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(target)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    done = build(ROOT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "faq" / "index.html").is_file()


def test_a_broken_link_stops_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# One\n\n[gone](two.md), [nowhere](#three)\n")
    config = (ROOT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(
        re.sub(r"(?s)^nav:.*|^not_in_nav: \|\n(  .*\n)+", "", config, flags=re.M)
    )
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "two.md" in done.stderr


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_links_of_pages_outside_the_site_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def offline_commands() -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text()
        candidates = [line for block in blocks(page, "", "sh", "console") for line in block.splitlines()]
        candidates += re.findall(r"`(gemma-operator [^`]+)`", text)
        candidates += re.findall(r"^ {4,}(gemma-operator .+)$", text, re.MULTILINE)
        for line in candidates:
            command = line.strip().removeprefix("$ ").partition("#")[0].strip()
            words = command.split()
            if len(words) > 2 and words[0] == "gemma-operator" and words[1] in OFFLINE_COMMANDS:
                found.append(command)
    return sorted(command for command in set(found) if not _is_a_form(command))


def _is_a_form(command: str) -> bool:
    """Whether it names something of the reader's."""
    return PLACEHOLDER.search(command) is not None or "your-" in command or ".csv" in command


@pytest.mark.parametrize("command", offline_commands())
def test_commands_of_the_planner_work_as_written(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 or 1: an example may show a refusal, but never input that cannot be used."""
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(command)[1:]
    assert main(arguments) in (0, 1), capsys.readouterr().err


def gemma_deployments() -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT)}-{number}", block)
        for page in PAGES
        for number, block in enumerate(blocks(page, "yaml"))
        if "kind: GemmaDeployment" in block
    ]


@pytest.mark.parametrize("text", [t for _, t in gemma_deployments()], ids=[n for n, _ in gemma_deployments()])
def test_every_gemma_deployment_in_the_pages_is_accepted(text: str, tmp_path: Path) -> None:
    file = tmp_path / "resource.yaml"
    file.write_text(text)
    for resource in read_resources(str(file)):
        assert render(resource, OperatorSettings(), (), "default")


def test_every_yaml_block_is_yaml() -> None:
    for page in PAGES:
        for block in blocks(page, "yaml"):
            assert list(yaml.safe_load_all(block)), page
