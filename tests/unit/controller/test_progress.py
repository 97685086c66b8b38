"""How far a fetch is, in the status while it goes on."""

from typing import Any

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import Manifest, ObjectKey
from support.corridor import KEY, SPEC, Corridor

OTHER = ObjectKey(API_VERSION, KIND, "team-a", "other")
CACHED: Manifest = {**SPEC, "cache": {"accessMode": "ReadWriteMany"}}
LINE = {
    "reason": "Fetching",
    "message": "",
    "revision": "c" * 40,
    "bytes_done": 12_300_000_000,
    "bytes_total": 54_900_000_000,
    "bytes_per_second": 210_000_000,
    "eta_seconds": 203,
}
FETCHING: Manifest = {"name": "weights", "state": {"running": {"startedAt": "2026-11-25T00:00:00Z"}}}


async def fetching(*keys: ObjectKey, line: Any = LINE) -> Corridor:
    """Jobs whose pods fetch."""
    corridor = Corridor()
    for key in keys:
        corridor.user_applies(CACHED, key)
    await corridor.settle(*keys)
    (job,) = [found for key, found in corridor.api.objects.items() if key.kind == "Job"]
    owner = {"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
    labels = job["spec"]["template"]["metadata"]["labels"]
    metadata = {"name": "fetcher", "namespace": "team-a", "labels": labels, "ownerReferences": [owner]}
    corridor.api.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [{"name": "weights"}]},
            "status": {"phase": "Running", "containerStatuses": [FETCHING]},
        }
    )
    if line is not None:
        corridor.api.logs["fetcher"] = line
    corridor.relist()
    for key in keys:
        await corridor.reconcile(key)
    return corridor


async def test_every_user_of_a_fetch_is_told_how_far_it_is_for_one_look_at_the_log() -> None:
    corridor = await fetching(KEY, OTHER)
    for key in (KEY, OTHER):
        condition = corridor.condition("WeightsReady", key)
        assert condition["reason"] == "Fetching"
        assert condition["message"].endswith(": 12.3 of 54.9 GB, 210.0 MB/s, about 3 min left")
        told = corridor.api.objects[key]["status"]["weights"]
        assert (told["bytesDone"], told["bytesTotal"]) == (12_300_000_000, 54_900_000_000)
        assert told["revision"] == "c" * 40
    assert [request.path.rsplit("/", 2)[1:] for request in corridor.api.reads] == [["fetcher", "log"]]


async def test_looking_again_at_once_asks_nothing_and_writes_nothing() -> None:
    corridor = await fetching(KEY)
    read, written = len(corridor.api.reads), len(corridor.api.writes)
    await corridor.reconcile()
    assert corridor.api.reads[read:] == []
    assert corridor.api.writes[written:] == []


async def test_a_log_that_cannot_be_read_costs_the_numbers_and_nothing_else() -> None:
    corridor = await fetching(KEY, line=None)
    assert corridor.condition("WeightsReady")["reason"] == "Fetching"
    assert "bytesDone" not in corridor.api.objects[KEY]["status"]["weights"]


async def test_without_a_running_fetch_no_log_is_read() -> None:
    corridor = await fetching(KEY)
    corridor.jobs_succeed()
    corridor.api.objects[ObjectKey("v1", "Pod", "team-a", "fetcher")]["status"] = {"phase": "Succeeded"}
    corridor.api._stamp(corridor.api.objects[ObjectKey("v1", "Pod", "team-a", "fetcher")])
    read = len(corridor.api.reads)
    corridor.restart()
    await corridor.settle()
    assert corridor.condition("WeightsReady")["status"] == "True"
    assert [request for request in corridor.api.reads[read:] if request.path.endswith("/log")] == []
