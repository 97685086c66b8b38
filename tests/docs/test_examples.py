"""Every example plans, renders and is valid; every family that is served and every shape has one."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from gemma_operator.api.read import read_spec
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog import load_catalog
from gemma_operator.cli.documents import read_resources
from gemma_operator.cli.render import render
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.plan import Plan
from gemma_operator.planning.planner import make_plan
from gemma_operator.settings import OperatorSettings

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "examples").rglob("*.yaml"))
EXAMPLES = [file for file in FILES if "\nkind: GemmaDeployment\n" in file.read_text()]
"""The others are what a platform team puts around them, such as admission policies."""
NAMES_OF_THEIR_OWN = ("codegemma", "medgemma", "txgemma", "translategemma")
"""Models that share a family's architecture, and that users look for by name."""
SETTINGS = OperatorSettings()
KUBERNETES = "1.36"
every_example = pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT / "examples"))
)


def resource_of(example: Path) -> dict[str, Any]:
    [resource] = read_resources(str(example))
    return resource


def spec_of(example: Path) -> GemmaDeploymentSpec:
    return read_spec(resource_of(example), strict=True)


@every_example
def test_it_plans(example: Path) -> None:
    plan = make_plan(spec_of(example), load_catalog(), SETTINGS.planning(), Inventory())
    assert isinstance(plan, Plan), f"{plan.reason}: {plan.message}"


@every_example
def test_it_renders_what_kubernetes_accepts(example: Path) -> None:
    manifests = render(resource_of(example), SETTINGS, (), "default")
    assert {"Deployment", "Service", "ConfigMap", "NetworkPolicy"} <= {m["kind"] for m in manifests}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@every_example
def test_its_first_line_says_what_it_is_for(example: Path) -> None:
    first = example.read_text().splitlines()[0]
    assert first.startswith("# "), "an example begins with a sentence"


def test_no_two_examples_have_one_name() -> None:
    names = [resource_of(example)["metadata"]["name"] for example in EXAMPLES]
    assert sorted(names) == sorted(set(names))


def test_every_served_family_has_an_example() -> None:
    catalog = load_catalog()
    served = {v.family for v in catalog.variants.values() if v.refusal is None}
    shown = {catalog.variants[spec_of(example).model.variant].family for example in EXAMPLES}
    assert shown == served


@pytest.mark.parametrize("name", NAMES_OF_THEIR_OWN)
def test_every_model_with_a_name_of_its_own_has_an_example(name: str) -> None:
    assert any(spec_of(example).model.variant.startswith(name) for example in EXAMPLES)


@pytest.mark.parametrize(
    "field",
    [
        "model.source.persistent_volume_claim",
        "model.source.hugging_face",
        "model.source.gcs",
        "model.source.s3",
        "model.source.image",
        "hardware.candidates",
        "hardware.compute_class",
        "hardware.spot",
        "hardware.node_selector",
        "hardware.tolerations",
        "cache",
        "access",
        "safety",
        "rollout",
        "monitoring.objectives",
        "suspend",
        "pod",
    ],
)
def test_every_shape_has_an_example(field: str) -> None:
    def set_in(spec: GemmaDeploymentSpec) -> bool:
        value: Any = spec
        for part in field.split("."):
            if value is None or part not in value.model_fields_set:
                return False
            value = getattr(value, part)
        return bool(value is not None)

    assert any(set_in(spec_of(example)) for example in EXAMPLES)


@every_example
def test_the_page_of_examples_lists_it(example: Path) -> None:
    assert example.name in (ROOT / "docs" / "examples.md").read_text(), "add a line to docs/examples.md"
