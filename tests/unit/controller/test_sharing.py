"""Weights that several GemmaDeployments share, through the real corridor."""

from copy import deepcopy
from typing import Any

import pytest

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import RETAINER_PREFIX, Manifest, ObjectKey, referring_uids
from gemma_operator.kube.apiserver import Request
from gemma_operator.kube.errors import ConflictError, NameTakenError
from support.corridor import KEY, SPEC, Corridor

OTHER = ObjectKey(API_VERSION, KIND, "team-a", "other")
THIRD = ObjectKey(API_VERSION, KIND, "team-a", "third")
ELSEWHERE = ObjectKey(API_VERSION, KIND, "team-b", "assistant")


def cached(revision: str = "main", token: str | None = None, **cache: Any) -> Manifest:
    hub: Manifest = {"repository": "google/gemma-3-270m", "revision": revision}
    if token is not None:
        hub["tokenSecretRef"] = {"name": token}
    model = {"variant": "gemma-3-270m", "source": {"huggingFace": hub}}
    return {**SPEC, "model": model, "cache": {"accessMode": "ReadWriteMany", **cache}}


def kept(corridor: Corridor, kind: str) -> dict[str, Manifest]:
    return {key.name: found for key, found in corridor.api.objects.items() if key.kind == kind}


def one(corridor: Corridor, kind: str) -> Manifest:
    (found,) = kept(corridor, kind).values()
    return found


def uid(corridor: Corridor, key: ObjectKey) -> str:
    return str(corridor.api.objects[key]["metadata"]["uid"])


def mounted(corridor: Corridor, key: ObjectKey) -> str:
    pod = corridor.api.objects[ObjectKey("apps/v1", "Deployment", key.namespace, key.name)]["spec"][
        "template"
    ]
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "weights"]
    return str(volume["persistentVolumeClaim"]["claimName"])


async def shared_by(*keys: ObjectKey, spec: Manifest | None = None) -> Corridor:
    """All serve from weights that were fetched."""
    corridor = Corridor()
    for key in keys:
        corridor.user_applies(spec or cached(), key)
    await corridor.settle(*keys)
    corridor.jobs_succeed()
    await corridor.settle(*keys)
    return corridor


async def test_equal_sources_are_fetched_once_into_one_claim() -> None:
    corridor = await shared_by(KEY, OTHER)
    users = {uid(corridor, KEY), uid(corridor, OTHER)}
    claim, job = one(corridor, "PersistentVolumeClaim"), one(corridor, "Job")
    assert referring_uids(claim) == referring_uids(job) == users
    assert mounted(corridor, KEY) == mounted(corridor, OTHER) == claim["metadata"]["name"]
    assert not any(reference.get("controller") for reference in claim["metadata"]["ownerReferences"])
    for key in (KEY, OTHER):
        assert corridor.condition("WeightsReady", key)["status"] == "True"


@pytest.mark.parametrize(
    "other",
    [
        cached(revision="v2"),
        cached(size="9Gi"),
        cached(storageClassName="fast"),
        {**SPEC, "cache": {}},
    ],
    ids=["revision", "size", "class", "one node"],
)
async def test_what_differs_is_not_shared(other: Manifest) -> None:
    corridor = Corridor()
    corridor.user_applies(cached())
    corridor.user_applies(other, OTHER)
    await corridor.settle(KEY, OTHER)
    assert len(kept(corridor, "PersistentVolumeClaim")) == len(kept(corridor, "Job")) == 2


async def test_a_claim_that_one_node_can_mount_is_nobody_elses() -> None:
    corridor = Corridor()
    for key in (KEY, OTHER):
        corridor.user_applies({**SPEC, "cache": {}}, key)
    await corridor.settle(KEY, OTHER)
    assert len(kept(corridor, "PersistentVolumeClaim")) == 2


async def test_another_namespace_has_its_own() -> None:
    corridor = Corridor()
    for key in (KEY, ELSEWHERE):
        corridor.user_applies(cached(), key)
    await corridor.settle(KEY, ELSEWHERE)
    claims = [key for key in corridor.api.objects if key.kind == "PersistentVolumeClaim"]
    assert {claim.namespace for claim in claims} == {"team-a", "team-b"}


async def test_a_user_that_comes_later_finds_the_weights_and_fetches_nothing() -> None:
    corridor = await shared_by(KEY)
    corridor.user_applies(cached(), OTHER)
    await corridor.settle(OTHER)
    assert len(kept(corridor, "Job")) == 1
    assert mounted(corridor, OTHER) == mounted(corridor, KEY)


async def test_deleting_one_user_leaves_anothers_weights_and_deleting_the_last_takes_them_away() -> None:
    corridor = await shared_by(KEY, OTHER)
    corridor.user_deletes(KEY)
    await corridor.settle(OTHER)
    assert referring_uids(one(corridor, "PersistentVolumeClaim")) == {uid(corridor, OTHER)}
    assert corridor.condition("WeightsReady", OTHER)["status"] == "True"
    corridor.user_deletes(OTHER)
    assert kept(corridor, "PersistentVolumeClaim") == kept(corridor, "Job") == {}


async def test_a_changed_source_gives_up_the_old_claim_once_the_new_weights_are_there() -> None:
    corridor = await shared_by(KEY, OTHER)
    before = one(corridor, "PersistentVolumeClaim")["metadata"]["name"]
    corridor.user_applies(cached("v2"))
    await corridor.settle(KEY, OTHER)
    assert mounted(corridor, KEY) == before, "until then it serves from the old ones"
    assert len(referring_uids(kept(corridor, "PersistentVolumeClaim")[before])) == 2
    corridor.jobs_succeed()
    await corridor.settle(KEY, OTHER)
    assert mounted(corridor, KEY) != before
    assert referring_uids(kept(corridor, "PersistentVolumeClaim")[before]) == {uid(corridor, OTHER)}
    assert len(kept(corridor, "Job")) == 2


async def test_the_last_user_that_moves_on_takes_the_old_claim_away() -> None:
    corridor = await shared_by(KEY)
    before = one(corridor, "PersistentVolumeClaim")["metadata"]["name"]
    corridor.user_applies(cached("v2"))
    await corridor.settle()
    corridor.jobs_succeed()
    await corridor.settle()
    assert before not in kept(corridor, "PersistentVolumeClaim")
    assert len(kept(corridor, "Job")) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_second_reconcile_of_any_user_and_a_restart_write_nothing(restarts: bool) -> None:
    corridor = await shared_by(KEY, OTHER, THIRD)
    written = len(corridor.api.writes)
    if restarts:
        corridor.restart()
    for key in (THIRD, KEY, OTHER, KEY):
        await corridor.reconcile(key)
    assert corridor.api.writes[written:] == []


async def test_who_comes_while_the_last_user_leaves_does_not_lose_the_weights() -> None:
    corridor = await shared_by(KEY)
    before = ObjectKey("v1", "PersistentVolumeClaim", "team-a", mounted(corridor, KEY))
    corridor.user_applies(cached("v2"))
    await corridor.settle()
    corridor.jobs_succeed()
    newcomer = {"apiVersion": API_VERSION, "kind": KIND, "name": "third", "uid": "third"}

    def arrive(request: Request) -> None:
        if request.method == "DELETE" and request.path.endswith(before.name):
            corridor.api.objects[before]["metadata"]["ownerReferences"].append(newcomer)
            corridor.api._stamp(corridor.api.objects[before])

    corridor.api.before = arrive
    with pytest.raises(ConflictError):
        await corridor.settle()
    assert before in corridor.api.objects


async def test_two_tokens_are_two_jobs_and_the_first_that_succeeds_serves_both() -> None:
    corridor = Corridor()
    corridor.user_applies(cached(token="denied"))
    corridor.user_applies(cached(token="granted"), OTHER)
    await corridor.settle(KEY, OTHER)
    assert len(kept(corridor, "PersistentVolumeClaim")) == 1
    jobs = kept(corridor, "Job")
    assert len(jobs) == 2
    (granted,) = [job for job in jobs.values() if referring_uids(job) == {uid(corridor, OTHER)}]
    granted["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    corridor.api._stamp(granted)
    await corridor.settle(KEY, OTHER)
    assert referring_uids(one(corridor, "Job")) == {uid(corridor, KEY), uid(corridor, OTHER)}
    assert one(corridor, "Job")["metadata"]["name"] == granted["metadata"]["name"]
    assert mounted(corridor, KEY) == mounted(corridor, OTHER)


async def test_a_shared_job_depends_on_no_user() -> None:
    corridor = await shared_by(KEY, OTHER)
    job = one(corridor, "Job")
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]
    named = {**job, "metadata": {**job["metadata"], "ownerReferences": []}}
    assert "assistant" not in str(named)


async def test_policies_of_every_user_reach_the_pods_of_a_shared_job() -> None:
    corridor = await shared_by(KEY, OTHER)
    labels = one(corridor, "Job")["spec"]["template"]["metadata"]["labels"]
    for key in (KEY, OTHER):
        policy = kept(corridor, "NetworkPolicy")[f"{key.name}-weights"]
        selected = policy["spec"]["podSelector"]["matchLabels"]
        assert selected.items() <= labels.items()
        serving = kept(corridor, "NetworkPolicy")[key.name]["spec"]["podSelector"]["matchLabels"]
        assert not serving.items() <= labels.items()


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "Job"])
async def test_a_foreign_object_of_the_same_name_is_never_joined(kind: str) -> None:
    reference = await shared_by(KEY)
    name, found = one(reference, kind)["metadata"]["name"], one(reference, kind)
    corridor = Corridor()
    metadata = {"name": name, "namespace": "team-a", "labels": {"app": "mine"}}
    key = corridor.foreign(
        {"apiVersion": found["apiVersion"], "kind": kind, "metadata": metadata, "spec": {}}
    )
    before = deepcopy(corridor.api.objects[key])
    corridor.user_applies(cached())
    with pytest.raises(NameTakenError, match=name):
        await corridor.settle()
    assert corridor.api.objects[key] == before


async def test_a_label_of_a_shared_object_that_somebody_changed_is_put_back() -> None:
    corridor = await shared_by(KEY, OTHER)
    claim = one(corridor, "PersistentVolumeClaim")
    before = dict(claim["metadata"]["labels"])
    claim["metadata"]["labels"] |= {"app.kubernetes.io/component": "foreign", "team": "blue"}
    corridor.api._stamp(claim)
    await corridor.settle(KEY, OTHER)
    assert claim["metadata"]["labels"] == {**before, "team": "blue"}


async def test_a_claim_that_somebody_enlarged_is_left_alone() -> None:
    corridor = await shared_by(KEY, OTHER)
    one(corridor, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"] = "99Gi"
    corridor.api._stamp(one(corridor, "PersistentVolumeClaim"))
    written = len(corridor.api.writes)
    await corridor.settle(KEY, OTHER)
    assert corridor.api.writes[written:] == []


async def test_a_job_from_before_the_claim_proves_nothing() -> None:
    """Somebody deleted the claim, and it was made anew: it is empty."""
    corridor = await shared_by(KEY)
    claim, job = one(corridor, "PersistentVolumeClaim"), one(corridor, "Job")
    job["metadata"]["creationTimestamp"] = "2026-11-25T02:00:00Z"
    claim["metadata"]["creationTimestamp"] = "2026-11-25T03:00:00Z"
    for manifest in (claim, job):
        corridor.api._stamp(manifest)
    await corridor.settle()
    again = one(corridor, "Job")
    assert again["metadata"]["uid"] != job["metadata"]["uid"]
    assert "status" not in again


async def test_a_retained_claim_outlives_its_users_and_serves_the_next_at_once() -> None:
    corridor = await shared_by(KEY, spec=cached(retention="Retain"))
    claim = one(corridor, "PersistentVolumeClaim")
    assert claim["metadata"]["ownerReferences"] == []
    corridor.user_deletes()
    assert one(corridor, "PersistentVolumeClaim") is claim
    assert kept(corridor, "Job") == {}, "what runs ends with its last user"
    corridor.user_applies(cached(), OTHER)
    await corridor.settle(OTHER)
    assert one(corridor, "PersistentVolumeClaim") is claim
    assert one(corridor, "Job")["metadata"]["annotations"]["serving.gemma-operator.dev/claim"] in (
        claim["metadata"]["name"],
    )


async def test_one_user_that_retains_a_claim_retains_it_for_all() -> None:
    corridor = await shared_by(KEY, OTHER)
    corridor.user_applies(cached(retention="Retain"))
    await corridor.settle(KEY, OTHER)
    claim = one(corridor, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"][RETAINER_PREFIX + uid(corridor, KEY)] == KEY.name
    assert referring_uids(claim) == set()
    written = len(corridor.api.writes)
    for key in (KEY, OTHER):
        corridor.restart()
        await corridor.reconcile(key)
    assert corridor.api.writes[written:] == []
    corridor.user_deletes(KEY)
    corridor.user_deletes(OTHER)
    assert one(corridor, "PersistentVolumeClaim") is claim


async def test_who_retained_a_claim_and_does_no_more_releases_it_to_its_users() -> None:
    corridor = await shared_by(KEY, OTHER, spec=cached(retention="Retain"))
    claim = one(corridor, "PersistentVolumeClaim")
    corridor.user_applies(cached())
    await corridor.settle(KEY, OTHER)
    assert referring_uids(claim) == set(), "the other one retains it still"
    corridor.user_applies(cached(), OTHER)
    await corridor.settle(KEY, OTHER)
    assert referring_uids(claim) == {uid(corridor, KEY), uid(corridor, OTHER)}
    assert not any(name.startswith(RETAINER_PREFIX) for name in claim["metadata"]["annotations"])
    corridor.user_deletes(KEY)
    corridor.user_deletes(OTHER)
    assert kept(corridor, "PersistentVolumeClaim") == {}


async def test_what_a_deleted_endpoint_retained_its_namesake_does_not_release() -> None:
    corridor = await shared_by(KEY, spec=cached(retention="Retain"))
    claim = one(corridor, "PersistentVolumeClaim")
    corridor.user_deletes()
    corridor.user_applies(cached())
    await corridor.settle()
    corridor.user_deletes()
    assert one(corridor, "PersistentVolumeClaim") is claim


async def test_retaining_changes_no_pod_and_no_name() -> None:
    corridor = await shared_by(KEY)
    before = corridor.api.objects[ObjectKey("apps/v1", "Deployment", "team-a", "assistant")]["spec"][
        "template"
    ]
    before, claim = deepcopy(before), mounted(corridor, KEY)
    corridor.user_applies(cached(retention="Retain"))
    await corridor.settle()
    after = corridor.api.objects[ObjectKey("apps/v1", "Deployment", "team-a", "assistant")]["spec"][
        "template"
    ]
    assert (after, mounted(corridor, KEY)) == (before, claim)


async def test_a_claim_of_one_endpoint_can_be_retained_as_well() -> None:
    spec = {**SPEC, "cache": {"retention": "Retain"}}
    corridor = await shared_by(KEY, spec=spec)
    claim = one(corridor, "PersistentVolumeClaim")
    corridor.user_deletes()
    corridor.user_applies(spec)
    await corridor.settle()
    assert one(corridor, "PersistentVolumeClaim") is claim


async def test_each_user_costs_no_more_writes_than_before() -> None:
    corridor = await shared_by(KEY)
    written, read = len(corridor.api.writes), len(corridor.api.reads)
    corridor.user_applies(cached(), OTHER)
    await corridor.settle(OTHER)
    assert len(corridor.api.writes) - written <= 9
    assert corridor.api.reads[read:] == []
