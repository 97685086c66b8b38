"""Which claim, for whom: names, and what a rollout has to know of them."""

from dataclasses import replace
from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.planning.origin import HubOrigin
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.revision import spec_hash
from gemma_operator.resources.rollout import claim_of_one_node
from gemma_operator.settings import OperatorSettings
from support.plans import COMMIT, CPU_PLAN, OWNER, from_origin, spec_of

SHARED = {"accessMode": "ReadWriteMany"}
HUB = HubOrigin("google/gemma-3-270m", COMMIT)
MOVED = from_origin(CPU_PLAN, replace(HUB, revision="f" * 40))
MIRRORED = from_origin(CPU_PLAN, replace(HUB, endpoint="https://mirror.example"))
OTHER_TOKEN = from_origin(CPU_PLAN, replace(HUB, token_secret_name="other"))


def desired(plan: Plan = CPU_PLAN, name: str = OWNER.name, **cache: Any) -> tuple[Manifest, ...]:
    owner = replace(OWNER, name=name, uid=f"uid-{name}")
    return desired_objects(owner, spec_of(cache=cache), plan, OperatorSettings())


def named(objects: tuple[Manifest, ...], kind: str) -> str:
    (name,) = [m["metadata"]["name"] for m in objects if m["kind"] == kind]
    return str(name)


def live(objects: tuple[Manifest, ...]) -> Manifest:
    (deployment,) = [m for m in objects if m["kind"] == "Deployment"]
    return deployment


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "Job"])
def test_equal_wishes_of_two_have_equal_names_where_nodes_can_share(kind: str) -> None:
    assert named(desired(**SHARED), kind) == named(desired(name="other", **SHARED), kind)
    assert named(desired(), kind) != named(desired(name="other"), kind)


@pytest.mark.parametrize("plan", [MOVED, MIRRORED], ids=["revision", "server"])
def test_another_source_is_another_claim(plan: Plan) -> None:
    kind = "PersistentVolumeClaim"
    assert named(desired(**SHARED), kind) != named(desired(plan, **SHARED), kind)


def test_another_token_is_another_job_into_the_same_claim() -> None:
    one, other = desired(**SHARED), desired(OTHER_TOKEN, **SHARED)
    assert named(one, "PersistentVolumeClaim") == named(other, "PersistentVolumeClaim")
    assert named(one, "Job") != named(other, "Job")


def test_retention_renames_nothing() -> None:
    for kind in ("PersistentVolumeClaim", "Job"):
        assert named(desired(**SHARED), kind) == named(desired(retention="Retain", **SHARED), kind)


def test_a_claim_of_one_node_is_known_where_old_and_new_pods_mount_it() -> None:
    before = desired()
    assert claim_of_one_node(live(before), desired()) == named(before, "PersistentVolumeClaim")
    assert claim_of_one_node(live(before), desired(MOVED)) is None
    assert claim_of_one_node(live(desired(**SHARED)), desired(**SHARED)) is None
    assert claim_of_one_node(live(desired(claimName="models")), desired(claimName="models")) is None


def test_an_empty_cache_is_an_edit_all_the_same() -> None:
    assert spec_hash(spec_of(cache={})) != spec_hash(spec_of())
