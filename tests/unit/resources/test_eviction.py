"""What serving pods say to a cluster autoscaler that would like to empty their node."""

import pytest

from gemma_operator.api.manifest import ROLE_LABEL, SERVING, WEIGHTS, Manifest
from gemma_operator.resources.deployment import deployment
from gemma_operator.resources.eviction import EVICTION_ANNOTATION, eviction_marks
from gemma_operator.settings import OperatorSettings
from support.plans import CPU_PLAN, OWNER, spec_of

MOVABLE, FIXED = spec_of(), spec_of(pod={"safeToEvict": False})
YES, NO = {EVICTION_ANNOTATION: "true"}, {EVICTION_ANNOTATION: "false"}


def pod(annotations: dict[str, str] | None, role: str = SERVING) -> Manifest:
    labels = {ROLE_LABEL: role}
    return {"kind": "Pod", "metadata": {"name": "a", "labels": labels, "annotations": annotations}}


def test_new_pods_do_not_hold_their_node_for_the_sake_of_their_volumes() -> None:
    template = deployment(OWNER, MOVABLE, CPU_PLAN, OperatorSettings())["spec"]["template"]
    assert template["metadata"]["annotations"][EVICTION_ANNOTATION] == "true"
    assert eviction_marks(MOVABLE, [pod(template["metadata"]["annotations"])]) == []


@pytest.mark.parametrize("said", [YES, None], ids=["movable", "of an older template"])
def test_a_pod_that_must_not_be_moved_is_marked(said: dict[str, str] | None) -> None:
    ((_, metadata),) = eviction_marks(FIXED, [pod(said)])
    assert metadata == {"annotations": NO}
    assert eviction_marks(FIXED, [pod(NO)]) == []


def test_the_mark_is_taken_back() -> None:
    ((_, metadata),) = eviction_marks(MOVABLE, [pod(NO)])
    assert metadata == {"annotations": YES}


def test_pods_that_fetch_weights_are_left_alone() -> None:
    assert eviction_marks(FIXED, [pod(YES, WEIGHTS)]) == []
