"""The index: newest wins, in whatever order things arrive."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import OWNER_LABEL, SHARED_LABEL, Manifest, ObjectKey, object_key
from gemma_operator.kube.index import Index
from gemma_operator.kube.kinds import ANNOUNCEMENT, WARNING, kind_of

OWNER = ObjectKey(API_VERSION, KIND, "team-a", "assistant")


def service(version: int, port: int = 80, owner: str | None = "assistant") -> Manifest:
    labels = {} if owner is None else {OWNER_LABEL: owner}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "s", "namespace": "team-a", "uid": "u", "resourceVersion": str(version), "labels": labels
        },
        "spec": {"ports": [{"port": port}]},
    }  # fmt: skip


def event(version: int, about: str = "s") -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "s.1", "namespace": "team-a", "uid": "e", "resourceVersion": str(version)},
        "involvedObject": {"apiVersion": "v1", "kind": "Service", "namespace": "team-a", "name": about},
        "type": "Warning",
        "message": "no endpoints",
    }


KEY = object_key(service(1))
SERVICE_KIND = kind_of(service(1))


def test_an_answer_overtaken_by_the_watch_is_ignored() -> None:
    index = Index()
    index.put(service(5, port=81))
    assert not index.put(service(4, port=80))
    found = index.get(KEY)
    assert found is not None
    assert found["spec"]["ports"] == [{"port": 81}]
    assert found["metadata"]["resourceVersion"] == "5"


def test_an_answer_overtaken_by_a_deletion_does_not_bring_the_object_back() -> None:
    index = Index()
    index.put(service(4))
    index.discard(KEY, 6)
    assert not index.put(service(5))
    assert index.get(KEY) is None


def test_an_object_made_anew_after_its_deletion_is_known() -> None:
    index = Index()
    index.discard(KEY, 6)
    assert index.put(service(7))


def test_a_late_deletion_does_not_remove_the_object_made_anew() -> None:
    index = Index()
    index.put(service(7))
    assert index.discard(KEY, 6) == ()
    assert index.get(KEY) is not None


def test_a_new_version_that_says_nothing_new_is_no_change() -> None:
    index = Index()
    assert index.put(service(1))
    assert not index.put(service(2))
    assert index.put(service(3, port=81))


def test_children_are_found_by_label_and_move_with_it() -> None:
    index = Index()
    index.put(service(1))
    assert [child["kind"] for child in index.children(OWNER)] == ["Service"]
    index.put(service(2, owner=None))
    assert index.children(OWNER) == ()


def test_a_warning_belongs_to_whom_its_object_belongs() -> None:
    index = Index()
    assert not index.put(event(2))
    index.put(service(1))
    assert index.put(event(3))
    assert [child["kind"] for child in index.children(OWNER)] == ["Event", "Service"]
    assert not index.put({**event(4, about="other"), "metadata": {**event(4)["metadata"], "name": "o.1"}})


def test_a_list_removes_what_it_does_not_name_but_nothing_newer_than_itself() -> None:
    index = Index()
    index.put(service(5))
    assert index.retain(SERVICE_KIND, None, set(), version=4) == []
    assert index.get(KEY) is not None
    assert index.retain(SERVICE_KIND, "team-b", set(), version=9) == []
    assert index.retain(SERVICE_KIND, "team-a", {KEY}, version=9) == []
    assert index.retain(SERVICE_KIND, "team-a", set(), version=9) == [OWNER]
    assert index.get(KEY) is None


def test_all_gives_the_same_tuple_until_something_changes() -> None:
    index = Index()
    index.put(service(1))
    first = index.all("Service")
    index.put(service(2))
    assert index.all("Service") is first
    index.put(service(3, port=81))
    assert index.all("Service") is not first


def test_what_is_read_is_a_copy() -> None:
    index = Index()
    index.put(service(1))
    index.children(OWNER)[0]["spec"]["ports"].clear()
    assert index.children(OWNER)[0]["spec"]["ports"] == [{"port": 80}]


CLAIM = ObjectKey("v1", "PersistentVolumeClaim", "team-a", "gemma-weights-1")
OTHER = ObjectKey(API_VERSION, KIND, "team-a", "other")


def claim(version: int, *users: str) -> Manifest:
    references = [{"apiVersion": API_VERSION, "kind": KIND, "name": name, "uid": name} for name in users]
    metadata = {
        "name": CLAIM.name, "namespace": "team-a", "uid": "c", "resourceVersion": str(version),
        "labels": {SHARED_LABEL: CLAIM.name}, "ownerReferences": references,
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": CLAIM.kind, "metadata": metadata, "spec": {}}


def fetcher(version: int) -> Manifest:
    metadata = {
        "name": "j", "namespace": "team-a", "uid": "j", "resourceVersion": str(version),
        "labels": {SHARED_LABEL: CLAIM.name},
    }  # fmt: skip
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}}


def test_a_shared_claim_and_what_fills_it_are_children_of_each_user() -> None:
    index = Index()
    index.put(fetcher(1))
    index.put(claim(2, "assistant", "other"))
    for user in (OWNER, OTHER):
        assert [child["kind"] for child in index.children(user)] == ["Job", "PersistentVolumeClaim"]
    assert index.concerned(object_key(fetcher(1))) == index.concerned(CLAIM) == (OWNER, OTHER)


def test_a_complaint_about_a_shared_object_concerns_every_user() -> None:
    index = Index()
    index.put(claim(2, "assistant", "other"))
    about = {"apiVersion": "v1", "kind": CLAIM.kind, "namespace": "team-a", "name": CLAIM.name}
    complaint = {**event(3), "involvedObject": about}
    assert index.put(complaint)
    assert index.concerned(object_key(complaint)) == (OWNER, OTHER)


def test_who_gave_a_claim_up_is_not_concerned_any_more() -> None:
    index = Index()
    index.put(claim(2, "assistant", "other"))
    index.put(claim(3, "other"))
    assert index.children(OWNER) == ()
    assert index.discard(CLAIM, 4) == (OTHER,)
    assert index.children(OTHER) == ()


def test_who_follows_a_claim_sees_it_without_being_referred_to() -> None:
    index = Index()
    index.put(claim(2))
    index.follow(OWNER, {CLAIM})
    assert [child["kind"] for child in index.children(OWNER)] == ["PersistentVolumeClaim"]
    assert index.concerned(CLAIM) == (OWNER,)
    assert index.discard(CLAIM, 3) == (OWNER,), "it has to be made again"
    index.follow(OWNER, ())
    index.put(claim(4))
    assert index.children(OWNER) == ()


def test_a_claim_that_is_not_there_yet_is_no_child() -> None:
    index = Index()
    index.follow(OWNER, {CLAIM})
    assert index.children(OWNER) == ()


changes = st.lists(st.booleans(), min_size=1, max_size=8)


@given(changes, st.randoms())
def test_arrival_order_does_not_matter(history: list[bool], random: Any) -> None:
    """Each version either exists or is a deletion; shuffled, the last one still decides."""
    arrivals = list(enumerate(history, start=1))
    random.shuffle(arrivals)
    index = Index()
    for version, exists in arrivals:
        if exists:
            index.put(service(version, port=version))
        else:
            index.discard(KEY, version)
    found = index.get(KEY)
    assert (found is not None) == history[-1]
    if found is not None:
        assert found["spec"]["ports"] == [{"port": len(history)}]


def test_an_event_of_the_newer_api_reads_like_one_of_the_core_and_lists_keep_the_two_apart() -> None:
    index = Index()
    index.put(service(1))
    newer = event(3)
    newer |= {"apiVersion": ANNOUNCEMENT.api_version, "regarding": newer.pop("involvedObject")}
    newer |= {"note": newer.pop("message"), "reason": "NotTriggerScaleUp", "type": "Normal"}
    newer["metadata"]["name"] = "s.2"
    assert index.put(newer)
    assert index.put(event(2))
    assert index.retain(WARNING, None, {object_key(event(2))}, version=9) == []
    assert index.retain(ANNOUNCEMENT, None, {object_key(newer)}, version=9) == []
    told = [child for child in index.children(OWNER) if child["kind"] == "Event"]
    assert [(child["message"], child["involvedObject"]["name"]) for child in told] == [
        ("no endpoints", "s")
    ] * 2
