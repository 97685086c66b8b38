"""Whatever fails on the way, the end is the one of an undisturbed run. `FAULT_PLANS`: how many are tried."""

import hashlib
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.fleet import Fleet, State
from faults.proxy import WatchFault, WriteFault
from gemma_devcluster.cluster import Cluster

pytestmark = pytest.mark.cluster

PLANS = int(os.environ.get("FAULT_PLANS", "20"))
FLEET_SIZE = 20
"""Lives lived at once: the time goes into waiting for retries."""
FAULTS_PER_PLAN = 4
WATCH_FAULTS = 12
SOON_NOTICED = [fault for fault in WatchFault if fault is not WatchFault.HALF_OPEN]
HALF_OPEN_EVERY = 100
"""Plans: a connection that is dead and open costs its batch a minute and a half."""
LIFE_WRITES = 20
"""About as many writes does an undisturbed life take; faults beyond the last one do not happen."""
REFERENCE = "plan-999"
CHILDREN = 5
"""Writes that no merging of edits can save."""
PASSING = [fault for fault in WriteFault if not fault.name.startswith("KILL")]
KILLS = (WriteFault.KILL_BEFORE, WriteFault.KILL_AFTER)


@pytest.fixture
def namespace(control_plane: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{readable}-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:6]}"
    control_plane.kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    yield name
    control_plane.kubectl.run("delete", "namespace", name, "--wait=false")


async def reference(fleet: Fleet) -> State:
    """The end of an undisturbed life: the last edit is rolled out, and its pod finds no place."""
    await fleet.live([REFERENCE])
    states = await fleet.until(lambda found: has_ended(found.get(REFERENCE, {})))
    assert "Deployment/NAME" in states[REFERENCE], fleet.operator.log
    await fleet.delete(REFERENCE)
    await fleet.until(lambda found: REFERENCE not in found)
    return states[REFERENCE]


def has_ended(state: State) -> bool:
    """Whether nothing is on its way any more; before, a pod without a place may be one that goes."""
    told = json.loads(state.get("GemmaDeployment/NAME", "{}")).get("conditions", [])
    said = {condition["type"]: condition for condition in told}
    if not {"PodsReady", "UpToDate"} <= said.keys():
        return False
    return said["PodsReady"]["reason"] == "Unschedulable" and said["UpToDate"]["status"] == "True"


def differences(state: State, wanted: State) -> dict[str, tuple[Any, Any]]:
    """Found and wanted, for each leaf that differs."""
    found, expected = leaves_of(state), leaves_of(wanted)
    return {
        path: (found.get(path), expected.get(path))
        for path in sorted(found.keys() | expected.keys())
        if found.get(path) != expected.get(path)
    }


def leaves_of(state: State) -> dict[str, Any]:
    return {leaf: value for key, text in state.items() for leaf, value in walk(key, json.loads(text))}


def walk(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, below in items:
            yield from walk(f"{path}.{name}", below)
    else:
        yield path, value


async def compare_and_delete(fleet: Fleet, names: list[str], wanted: State) -> None:
    """All must have come to the reference's end, and deleting must leave nothing."""
    states = await fleet.until(lambda found: all(found.get(name) == wanted for name in names))
    for name in names:
        found = differences(states.get(name, {}), wanted)
        assert found == {}, f"{name} under {fleet.proxy.happened}: {await fleet.seen(name)}"
    for name in names:
        await fleet.delete(name)
    assert await fleet.until(lambda found: not found) == {}


@pytest.mark.parametrize("batch", range(0, PLANS, FLEET_SIZE))
async def test_faults_of_requests_and_watches_do_not_change_the_end(
    control_plane: Cluster, namespace: str, tmp_path: Path, batch: int
) -> None:
    chance = random.Random(batch)
    names = [f"plan-{batch + number:03}" for number in range(FLEET_SIZE)]
    async with Fleet(control_plane, namespace, tmp_path) as fleet:
        wanted = await reference(fleet)
        for name in names:
            for number in chance.sample(range(1, LIFE_WRITES + 1), FAULTS_PER_PLAN):
                fleet.proxy.faults.writes[name, number] = chance.choice(PASSING)
        for _ in range(WATCH_FAULTS):
            when = fleet.proxy.events + chance.randrange(1, 20 * FLEET_SIZE)
            fleet.proxy.faults.watches[when] = chance.choice(SOON_NOTICED)
        half_open = int((batch + FLEET_SIZE) % HALF_OPEN_EVERY == 0)
        if half_open:
            fleet.proxy.faults.watches[fleet.proxy.events + 10 * FLEET_SIZE] = WatchFault.HALF_OPEN
        await fleet.live(names)
        await compare_and_delete(fleet, names, wanted)
        assert fleet.proxy.happened.total() >= FLEET_SIZE
        assert fleet.proxy.happened[WatchFault.HALF_OPEN] == half_open


@pytest.mark.parametrize("moment", KILLS, ids=["before", "after"])
async def test_killed_at_every_write_of_a_life_it_ends_the_same(
    control_plane: Cluster, namespace: str, tmp_path: Path, moment: WriteFault
) -> None:
    """At the k-th write of plan number k the operator is killed, in the middle of the lives of all others."""
    async with Fleet(control_plane, namespace, tmp_path) as fleet:
        wanted = await reference(fleet)
        names = [f"plan-{number:03}" for number in range(1, fleet.proxy.writes[REFERENCE] + 1)]
        for number, name in enumerate(names, start=1):
            fleet.proxy.faults.writes[name, number] = moment
        await fleet.live(names)
        await compare_and_delete(fleet, names, wanted)
        assert fleet.proxy.happened[moment] >= CHILDREN
