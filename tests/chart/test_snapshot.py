"""What a plain `helm install` makes, object by object. A change here is a change of every installation."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.conftest import Render

pytestmark = pytest.mark.cluster

SNAPSHOTS = Path(__file__).parent / "snapshots"
GENERATED_KINDS = {"CustomResourceDefinition"}
"""Held to their source elsewhere, as the dashboards and the operator's own grants are."""
GRANTS = {"ClusterRole", "Role"}


def shown(documents: list[dict[str, Any]]) -> str:
    kept = [
        document
        for document in documents
        if document["kind"] not in GENERATED_KINDS and not document["metadata"]["name"].endswith("-dashboard")
    ]
    for document in kept:
        if document["kind"] in GRANTS and "annotations" not in document["metadata"]:
            document["rules"] = "those of kube.kinds.rbac_rules"
    return yaml.safe_dump_all(kept, sort_keys=False, explicit_start=True, width=110)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("defaults", ()), ("namespaced-ha", ("--set", "watchNamespaces={team-a},replicas=2"))],
)
def test_the_chart_renders_as_recorded(
    render: Render, request: pytest.FixtureRequest, name: str, arguments: tuple[str, ...]
) -> None:
    text = shown(render(*arguments))
    file = SNAPSHOTS / f"{name}.yaml"
    if request.config.getoption("--update-golden"):
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), "run `make golden` and review the diff"
