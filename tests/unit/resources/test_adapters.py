"""LoRA adapters in the rendered objects."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gemma_operator.planning.origin import ClaimOrigin, HubOrigin
from gemma_operator.planning.plan import AdapterPlan, AdapterRoom, Plan
from gemma_operator.resources.desired import desired_objects
from gemma_operator.settings import parse_settings
from gemma_serving.contract import repository_folder
from support.plans import CLAIM_WEIGHTS, COMMIT, GPU_PLAN, HUB_WEIGHTS, OWNER, spec_of

SETTINGS = parse_settings("")
FETCHED = AdapterPlan(
    "polite",
    replace(
        HUB_WEIGHTS,
        origin=HubOrigin("team/polite", None, "http://mirror:8081", "team", "token", is_of_server=True),
        files=("adapter_config.json",),
        entry=".",
        size_bytes=10_000_000,
    ),
    rank=8,
)
CLAIM = "persistentVolumeClaim"
FOLDER = repository_folder("team/polite", "http://mirror:8081")
MOUNTED = AdapterPlan("maths", replace(CLAIM_WEIGHTS, origin=ClaimOrigin("tuned", "maths/last")), rank=16)


def rendered(plan: Plan, **fields: Any) -> dict[str, dict[str, Any]]:
    return {m["kind"]: m for m in desired_objects(OWNER, spec_of(**fields), plan, SETTINGS)}


def runtime(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return dict(json.loads(objects["ConfigMap"]["data"]["runtime.json"]))


def pod(objects: dict[str, dict[str, Any]], kind: str = "Deployment") -> dict[str, Any]:
    return dict(objects[kind]["spec"]["template"]["spec"])


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def with_adapters(*adapters: AdapterPlan, plan: Plan = GPU_PLAN) -> Plan:
    return replace(plan, adapters=adapters)


def test_engine_finds_each_adapter_where_the_pod_has_it() -> None:
    config = runtime(rendered(with_adapters(MOUNTED, FETCHED)))
    assert config["adapters"] == {
        "polite": f"/weights/{FOLDER}/main",
        "maths": "/claims/tuned/maths/last",
    }
    assert config["adapter_rank"] == 16


def test_adapters_are_fetched_before_the_model_each_with_its_own_token_and_hub() -> None:
    objects = rendered(with_adapters(FETCHED))
    containers = pod(objects)["initContainers"]
    assert [c["name"] for c in containers] == ["repository", "weights-polite", "weights"]
    adapter = containers[1]
    assert "--endpoint=http://mirror:8081" in adapter["args"]
    assert adapter["env"][-1]["valueFrom"]["secretKeyRef"]["name"] == "team"
    ports = [p["port"] for rule in objects["NetworkPolicy"]["spec"]["egress"] for p in rule["ports"]]
    assert {443, 8081} <= set(ports)


def test_adapters_of_one_name_on_two_servers_are_two_in_a_shared_claim() -> None:
    elsewhere = replace(FETCHED.weights.origin, endpoint="http://other:8081")
    other = replace(FETCHED, weights=replace(FETCHED.weights, origin=elsewhere))
    cache = {"accessMode": "ReadWriteMany", "size": "9Gi"}
    one, two = (rendered(with_adapters(adapter), cache=cache) for adapter in (FETCHED, other))
    name, label = "PersistentVolumeClaim", "serving.gemma-operator.dev/weights"
    assert one[name]["metadata"]["name"] == two[name]["metadata"]["name"]
    assert one["Job"]["metadata"]["labels"][label] != two["Job"]["metadata"]["labels"][label]
    assert runtime(one)["adapters"] != runtime(two)["adapters"]
    assert "--server-folder" in pod(one, "Job")["initContainers"][0]["args"]
    assert "--server-folder" not in pod(one, "Job")["containers"][0]["args"]


def test_job_fetches_adapters_into_the_same_claim_and_is_another_job() -> None:
    alone, both = rendered(GPU_PLAN, cache={}), rendered(with_adapters(FETCHED), cache={})
    job = pod(both, "Job")
    assert [c["name"] for c in (*job["initContainers"], *job["containers"])] == ["weights-polite", "weights"]
    assert "initContainers" not in pod(alone, "Job")
    labels = [o["Job"]["metadata"]["labels"]["serving.gemma-operator.dev/weights"] for o in (alone, both)]
    assert labels[0] != labels[1]
    assert [c["name"] for c in pod(both)["initContainers"]] == ["repository"]


@pytest.mark.parametrize(("mode", "claims"), [("ReadWriteOnce", 2), ("ReadWriteMany", 1)])
def test_new_adapter_gets_a_new_claim_only_where_the_old_one_is_bound_to_a_node(
    mode: str, claims: int
) -> None:
    cache = {"accessMode": mode, "size": "100Gi"}
    names = {
        rendered(plan, cache=cache)["PersistentVolumeClaim"]["metadata"]["name"]
        for plan in (GPU_PLAN, with_adapters(FETCHED))
    }
    assert len(names) == claims


def test_adapter_from_a_claim_is_mounted_read_only_and_not_fetched() -> None:
    spec = pod(rendered(with_adapters(MOUNTED)))
    triton = next(c for c in spec["containers"] if c["name"] == "triton")
    name = mounts(triton)["/claims/tuned"]
    volume = next(v for v in spec["volumes"] if v["name"] == name)
    assert volume["persistentVolumeClaim"] == {"claimName": "tuned", "readOnly": True}
    assert [c["name"] for c in spec["initContainers"]] == ["repository", "weights"]


def test_claim_of_several_adapters_is_mounted_once_and_the_models_own_is_there_already() -> None:
    other = replace(MOUNTED, name="law", weights=replace(MOUNTED.weights, origin=ClaimOrigin("tuned", "law")))
    beside = replace(
        MOUNTED, name="own", weights=replace(MOUNTED.weights, origin=ClaimOrigin("models", "own"))
    )
    plan = with_adapters(other, MOUNTED, beside, plan=replace(GPU_PLAN, weights=CLAIM_WEIGHTS))
    objects = rendered(plan)
    claims = [v[CLAIM]["claimName"] for v in pod(objects)["volumes"] if CLAIM in v]
    assert sorted(claims) == ["models", "tuned"]
    assert runtime(objects)["adapters"] == {
        "law": "/claims/tuned/law",
        "maths": "/claims/tuned/maths/last",
        "own": "/weights/own",
    }


def template(plan: Plan, **fields: Any) -> Any:
    return rendered(plan, **fields)["Deployment"]["spec"]["template"]


ROOM = AdapterRoom(count=3, rank=16)
SHARED = {"accessMode": "ReadWriteMany", "size": "100Gi"}


@pytest.mark.parametrize("adapter", [FETCHED, MOUNTED], ids=["shared cache", "the model's claim"])
def test_with_slots_an_adapter_that_pods_can_reach_changes_their_file_and_not_their_template(
    adapter: AdapterPlan,
) -> None:
    fetched = adapter is FETCHED
    model = GPU_PLAN.weights if fetched else replace(CLAIM_WEIGHTS, origin=ClaimOrigin("tuned", "base"))
    plan = replace(GPU_PLAN, weights=model, adapter_room=ROOM)
    fields: dict[str, Any] = {"cache": SHARED} if fetched else {}
    before, after = (rendered(each, **fields) for each in (plan, with_adapters(adapter, plan=plan)))
    assert before["Deployment"] == after["Deployment"]
    assert list(runtime(after)["adapters"]) == [adapter.name]
    assert (runtime(after)["adapter_slots"], runtime(after)["adapter_rank"]) == (3, 16)


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        (with_adapters(FETCHED, plan=replace(GPU_PLAN, adapter_room=ROOM)), {"cache": {"size": "100Gi"}}),
        (with_adapters(FETCHED, plan=replace(GPU_PLAN, adapter_room=ROOM)), {}),
        (with_adapters(MOUNTED, plan=replace(GPU_PLAN, adapter_room=ROOM)), {"cache": SHARED}),
        (with_adapters(FETCHED, plan=replace(GPU_PLAN, adapter_room=AdapterRoom(4, 16))), {"cache": SHARED}),
        (with_adapters(FETCHED, plan=replace(GPU_PLAN, adapter_room=AdapterRoom(3, 32))), {"cache": SHARED}),
        (with_adapters(FETCHED, plan=GPU_PLAN), {"cache": SHARED}),
    ],
    ids=["claim of one node", "each pod's own disk", "another claim", "more", "a larger rank", "no slots"],
)
def test_an_adapter_that_running_pods_cannot_take_up_takes_new_ones(
    changed: Plan, fields: dict[str, Any]
) -> None:
    room = None if changed.adapter_room is None else ROOM
    assert template(replace(GPU_PLAN, adapter_room=room), **fields) != template(changed, **fields)


def test_adapter_fetched_beside_a_model_in_a_claim_has_a_volume_of_its_own() -> None:
    plan = with_adapters(FETCHED, plan=replace(GPU_PLAN, weights=CLAIM_WEIGHTS))
    objects = rendered(plan)
    spec = pod(objects)
    fetcher = spec["initContainers"][-1]
    triton = next(c for c in spec["containers"] if c["name"] == "triton")
    assert (fetcher["name"], mounts(fetcher)["/adapters"]) == ("weights-polite", "adapters")
    assert mounts(triton)["/adapters"] == "adapters"
    assert runtime(objects)["adapters"] == {"polite": f"/adapters/{FOLDER}/main"}


def test_plan_without_adapters_renders_as_if_there_were_no_such_thing() -> None:
    objects = rendered(GPU_PLAN)
    assert runtime(objects)["adapters"] == {}
    assert "adapter_rank" not in runtime(objects)
    assert "adapter" not in json.dumps(objects["Deployment"])


def test_identity_of_what_is_fetched_knows_the_adapters_revision() -> None:
    moved = replace(FETCHED, weights=replace(FETCHED.weights, origin=HubOrigin("team/polite", COMMIT)))
    keys = {GPU_PLAN.fetched_key, with_adapters(FETCHED).fetched_key, with_adapters(moved).fetched_key}
    assert len(keys) == 3
    assert GPU_PLAN.fetched_key == GPU_PLAN.weights.key
