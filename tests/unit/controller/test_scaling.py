"""Who owns `replicas`: never reset on the way in or out, never written while an autoscaler has it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_operator.api.manifest import Manifest, ObjectKey
from gemma_operator.controller.basis import Basis
from gemma_operator.settings import OperatorSettings, ScalingSettings
from support.corridor import CATALOG, KEY, SPEC, Corridor

DEPLOYMENT = ObjectKey("apps/v1", "Deployment", "team-a", "assistant")
HPA = ObjectKey("autoscaling/v2", "HorizontalPodAutoscaler", "team-a", "assistant")
SCALED: Manifest = {**SPEC, "scaling": {"minReplicas": 2, "maxReplicas": 9}}


class Watched(Corridor):
    """Remembers every number of replicas that there ever was."""

    def __init__(self) -> None:
        super().__init__()
        scaling = ScalingSettings(front_door_url="http://door:9090")
        self.basis = Basis(OperatorSettings(scaling=scaling), CATALOG)
        self.seen: list[int] = []
        self.api.after = lambda _: self.look()

    def look(self) -> None:
        if DEPLOYMENT in self.api.objects:
            self.seen.append(self.replicas)

    @property
    def replicas(self) -> int:
        return int(self.api.objects[DEPLOYMENT]["spec"].get("replicas", 1))

    def autoscaler_sets(self, replicas: int) -> None:
        self.api.objects[DEPLOYMENT]["spec"]["replicas"] = replicas
        self.relist()
        self.look()

    async def applies(self, spec: Any) -> None:
        self.user_applies(spec)
        await self.settle()


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_switching_on_keeps_the_number_there_is(watched: Watched) -> None:
    await watched.applies({**SPEC, "replicas": 5})
    watched.seen.clear()
    await watched.applies(SCALED)
    assert set(watched.seen) == {5}
    assert HPA in watched.api.objects


async def test_switching_off_goes_to_the_stated_number_at_once(watched: Watched) -> None:
    await watched.applies(SCALED)
    watched.autoscaler_sets(7)
    watched.seen.clear()
    await watched.applies({**SPEC, "replicas": 6})
    assert set(watched.seen) <= {7, 6}
    assert watched.replicas == 6
    assert HPA not in watched.api.objects


async def test_on_off_and_on_again_never_passes_through_one(watched: Watched) -> None:
    await watched.applies({**SPEC, "replicas": 4})
    watched.seen.clear()
    await watched.applies(SCALED)
    await watched.applies({**SPEC, "replicas": 4})
    await watched.applies(SCALED)
    assert set(watched.seen) == {4}


async def test_an_autoscaler_comes_with_its_deployment_and_not_before(watched: Watched) -> None:
    await watched.applies({**SCALED, "cache": {"accessMode": "ReadWriteMany"}})
    assert DEPLOYMENT not in watched.api.objects, "it waits for its weights"
    assert HPA not in watched.api.objects
    (job,) = [found for name, found in watched.children().items() if name.startswith("Job/")]
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    watched.api.put(job)
    await watched.settle()
    assert {DEPLOYMENT, HPA} <= set(watched.api.objects)


async def test_a_new_edit_and_a_restart_leave_the_autoscalers_number(watched: Watched) -> None:
    await watched.applies(SCALED)
    watched.autoscaler_sets(8)
    await watched.applies({**SCALED, "capacity": {"maxConcurrentRequests": 2}})
    watched.restart()
    await watched.settle()
    assert watched.replicas == 8


async def test_after_a_suspension_there_are_pods_again(watched: Watched) -> None:
    await watched.applies(SCALED)
    watched.autoscaler_sets(3)
    await watched.applies({**SCALED, "suspend": True})
    assert watched.replicas == 0
    assert HPA not in watched.api.objects
    await watched.applies(SCALED)
    assert watched.replicas == 2


@settings(max_examples=15, deadline=None)
@given(numbers=st.lists(st.integers(1, 9), min_size=1, max_size=4))
async def test_no_reconcile_ever_changes_what_the_autoscaler_set(numbers: list[int]) -> None:
    watched = Watched()
    await watched.applies(SCALED)
    for number in numbers:
        watched.autoscaler_sets(number)
        watched.seen.clear()
        await watched.settle()
        assert watched.replicas == number
        assert set(watched.seen) <= {number}


async def test_a_fixed_number_has_no_scaling_condition_and_a_scaled_one_has(watched: Watched) -> None:
    await watched.applies(SPEC)
    types = {c["type"] for c in watched.api.objects[KEY]["status"]["conditions"]}
    assert "ScalingActive" not in types
    await watched.applies({**SPEC, "scaling": {"maxReplicas": 2, "backend": "KEDA"}})
    assert watched.condition("ScalingActive")["reason"] == "AdapterMissing"
    assert "Install KEDA" in watched.condition("ScalingActive")["message"]
