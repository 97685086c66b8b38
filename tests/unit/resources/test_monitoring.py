"""How serving pods say whether they want to be scraped."""

from typing import Any

import pytest

from gemma_operator.api.manifest import ROLE_LABEL, SCRAPE_LABEL, SERVING, WEIGHTS, Manifest
from gemma_operator.resources.deployment import deployment
from gemma_operator.resources.scrape import scrape_marks
from gemma_operator.settings import OperatorSettings
from support.plans import CPU_PLAN, OWNER, spec_of

QUIET = spec_of(monitoring={"scrape": "None"})


def template(**fields: Any) -> Manifest:
    made = deployment(OWNER, spec_of(**fields), CPU_PLAN, OperatorSettings())
    rendered: Manifest = made["spec"]["template"]
    return rendered


def pod(role: str = SERVING, **metadata: Any) -> Manifest:
    labels = {ROLE_LABEL: role, **metadata.pop("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": labels, **metadata}}


def test_pods_are_scraped_unless_the_spec_says_otherwise() -> None:
    metadata = template()["metadata"]
    assert (
        metadata["annotations"].items()
        >= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9090",
            "prometheus.io/path": "/metrics",
        }.items()
    )
    assert SCRAPE_LABEL not in metadata["labels"]


def test_scrape_none_is_said_to_monitors_and_by_annotation_alike() -> None:
    ((_, metadata),) = scrape_marks(QUIET, [pod()])
    assert metadata == {
        "labels": {SCRAPE_LABEL: "none"},
        "annotations": {"prometheus.io/scrape": "false"},
    }


def test_scrape_auto_takes_the_mark_away_again() -> None:
    ((_, metadata),) = scrape_marks(spec_of(), [pod(labels={SCRAPE_LABEL: "none"})])
    assert metadata == {"labels": {SCRAPE_LABEL: None}, "annotations": {"prometheus.io/scrape": "true"}}


@pytest.mark.parametrize(
    "child",
    [
        pod(labels={SCRAPE_LABEL: "none"}),
        pod(WEIGHTS),
        pod(deletionTimestamp="2026-11-25T00:00:00Z"),
        {"kind": "ReplicaSet", "metadata": {"labels": {ROLE_LABEL: SERVING}}},
    ],
    ids=["marked", "fetching", "leaving", "no-pod"],
)
def test_what_says_so_already_or_serves_nothing_is_left_alone(child: Manifest) -> None:
    assert scrape_marks(QUIET, [child]) == []


@pytest.mark.parametrize("monitoring", [{"scrape": "None"}, {"objectives": {"availabilityPercent": 99.5}}])
def test_monitoring_changes_no_template(monitoring: dict[str, Any]) -> None:
    assert template(monitoring=monitoring) == template()
