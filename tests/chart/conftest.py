"""Helm as devcluster builds it."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gemma_devcluster import builder

CHART = Path(__file__).resolve().parents[2] / "charts" / "gemma-operator"

Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> Path:
    return builder.ensure().path("helm")


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """`helm template` with the given arguments, parsed; raises CalledProcessError with helm's words."""

    def run(*arguments: str) -> list[dict[str, Any]]:
        command = [str(helm), "template", "release", str(CHART), "--namespace", "gemma-system", *arguments]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [document for document in yaml.safe_load_all(text) if document]

    return run
