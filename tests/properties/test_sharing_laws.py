"""The law of sharing: in whatever order users come, change their minds and go, what some user wants is there,
and nothing else."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import Manifest, ObjectKey, owner_of, referring_uids
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.persistentvolumeclaim import cache_claim_name
from support.corridor import SPEC, Corridor

USERS = tuple(ObjectKey(API_VERSION, KIND, "team-a", name) for name in ("ada", "bob", "cyd"))
REVISIONS = ("main", "v2")
MODES = ("ReadWriteMany", "ReadWriteOnce")


def spec(revision: str, mode: str) -> Manifest:
    hub = {"repository": "google/gemma-3-270m", "revision": revision}
    model = {"variant": "gemma-3-270m", "source": {"huggingFace": hub}}
    return {**SPEC, "model": model, "cache": {"accessMode": mode}}


SPECS = st.builds(spec, st.sampled_from(REVISIONS), st.sampled_from(MODES))
STEPS = st.tuples(st.sampled_from(USERS), st.none() | SPECS, st.booleans())
"""Who, what he wants from now on (nothing: he is gone), and whether the operator restarts after it."""


async def rest(corridor: Corridor, users: list[ObjectKey]) -> None:
    """Jobs run, and everybody is looked at until nothing is written."""
    for _ in range(2):
        if users:
            await corridor.settle(*users)
        corridor.jobs_succeed()
    if users:
        await corridor.settle(*users)


def wanted(corridor: Corridor, users: list[ObjectKey]) -> dict[str, set[str]]:
    """Claim to uids of those who want it, from the rules of naming alone."""
    found: dict[str, set[str]] = {}
    for user in users:
        resource = corridor.api.objects[user]
        read = GemmaDeploymentSpec.model_validate(resource["spec"])
        plan: Any = corridor.basis.plan(read, corridor.cluster.nodes())
        assert isinstance(plan, Plan)
        assert read.cache is not None
        name = cache_claim_name(owner_of(resource), read.cache, plan)
        found.setdefault(name, set()).add(resource["metadata"]["uid"])
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=7))
async def test_exactly_the_claims_that_some_user_wants_are_left(
    steps: list[tuple[ObjectKey, Manifest | None, bool]],
) -> None:
    corridor, users = Corridor(), list[ObjectKey]()
    for user, body, restarts in steps:
        if body is not None:
            corridor.user_applies(body, user)
            users = sorted({*users, user})
        elif user in users:
            corridor.user_deletes(user)
            users.remove(user)
        if restarts:
            corridor.restart()
        await rest(corridor, users)
    expected = wanted(corridor, users)
    claims = {key.name: found for key, found in corridor.api.objects.items() if "Claim" in key.kind}
    jobs = [found for key, found in corridor.api.objects.items() if key.kind == "Job"]
    assert {name: referring_uids(claim) for name, claim in claims.items()} == expected
    filled = {job["metadata"]["annotations"]["serving.gemma-operator.dev/claim"]: job for job in jobs}
    assert len(filled) == len(jobs)
    assert {name: referring_uids(job) for name, job in filled.items()} == expected
