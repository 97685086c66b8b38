"""How serving pods say whether they want to be scraped."""

from typing import Any

import pytest

from gemma_operator.api.manifest import ROLE_LABEL, SCRAPE_LABEL, SERVING, Manifest
from gemma_operator.resources.deployment import deployment
from gemma_operator.settings import OperatorSettings
from support.plans import CPU_PLAN, OWNER, spec_of


def template(**fields: Any) -> Manifest:
    made = deployment(OWNER, spec_of(**fields), CPU_PLAN, OperatorSettings())
    metadata: Manifest = made["spec"]["template"]["metadata"]
    return metadata


def test_pods_are_scraped_unless_the_spec_says_otherwise() -> None:
    metadata = template()
    assert (
        metadata["annotations"].items()
        >= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9090",
            "prometheus.io/path": "/metrics",
        }.items()
    )
    assert SCRAPE_LABEL not in metadata["labels"]


def test_scrape_none_tells_monitors_and_annotations_alike() -> None:
    metadata = template(monitoring={"scrape": "None"})
    assert metadata["labels"][SCRAPE_LABEL] == "none"
    assert metadata["labels"][ROLE_LABEL] == SERVING
    assert metadata["annotations"]["prometheus.io/scrape"] == "false"
    assert "prometheus.io/port" not in metadata["annotations"]


@pytest.mark.parametrize("scrape", ["Auto", "None"])
def test_the_selector_of_the_deployment_never_changes(scrape: str) -> None:
    made = deployment(OWNER, spec_of(monitoring={"scrape": scrape}), CPU_PLAN, OperatorSettings())
    assert SCRAPE_LABEL not in made["spec"]["selector"]["matchLabels"]


def test_objectives_change_no_pod() -> None:
    assert template(monitoring={"objectives": {"availabilityPercent": 99.5}}) == template()
