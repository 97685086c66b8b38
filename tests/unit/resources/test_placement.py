from typing import Any

import pytest
from pydantic import ValidationError

from gemma_operator.api.manifest import Manifest
from gemma_operator.resources.placement import placement
from gemma_operator.settings import parse_settings
from support.plans import CPU_PLAN, GPU_PLAN, OWNER, spec_of

SETTINGS = parse_settings(
    "pods: {nodeSelector: {pool: serving, team: all}, tolerations: [{operator: Exists}]}"
)


def placed(plan: Any = GPU_PLAN, **fields: Any) -> Manifest:
    return placement(OWNER, spec_of(**fields), plan, SETTINGS)


def test_the_spec_adds_to_settings_and_plan() -> None:
    taint = {"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}
    fields = placed(hardware={"nodeSelector": {"team": "a"}, "tolerations": [taint]})
    assert fields["nodeSelector"] == {"pool": "serving", "team": "a", **GPU_PLAN.node_selector}
    assert taint in fields["tolerations"]
    assert GPU_PLAN.tolerations[0] in fields["tolerations"]


def test_what_the_plan_needs_cannot_be_selected_away() -> None:
    label = "cloud.google.com/gke-accelerator"
    assert placed(hardware={"nodeSelector": {label: "nvidia-t4"}})["nodeSelector"][label] == "nvidia-l4"


def test_a_compute_class_stands_in_for_the_plans_labels() -> None:
    selector = placed(hardware={"computeClass": "gemma"})["nodeSelector"]
    assert selector["cloud.google.com/compute-class"] == "gemma"
    assert "cloud.google.com/gke-accelerator" not in selector


def test_spot_selects_and_tolerates_spot_nodes() -> None:
    fields = placed(CPU_PLAN, hardware={"spot": True})
    assert fields["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert any(toleration.get("key") == "cloud.google.com/gke-spot" for toleration in fields["tolerations"])


def test_a_priority_class_is_passed_on() -> None:
    assert placed(pod={"priorityClassName": "serving"})["priorityClassName"] == "serving"
    assert "priorityClassName" not in placed()


@pytest.mark.parametrize("more", [{"nodeSelector": {"a": "b"}}, {"spot": True}], ids=["selector", "spot"])
def test_a_compute_class_excludes_labels_of_nodes(more: Manifest) -> None:
    with pytest.raises(ValidationError, match="computeClass chooses the nodes"):
        spec_of(hardware={"computeClass": "gemma", **more})
