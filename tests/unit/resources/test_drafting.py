"""A drafter in the rendered objects."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gemma_operator.planning.origin import HubOrigin
from gemma_operator.planning.plan import DrafterPlan, Plan
from gemma_operator.resources.desired import desired_objects
from gemma_operator.settings import parse_settings
from support.plans import CLAIM_WEIGHTS, GPU_PLAN, HUB_WEIGHTS, OWNER, spec_of

DRAFTER = DrafterPlan(
    replace(HUB_WEIGHTS, origin=HubOrigin("google/drafter"), files=("*.safetensors",), entry="."), 4
)


def rendered(plan: Plan, **fields: Any) -> dict[str, dict[str, Any]]:
    objects = desired_objects(OWNER, spec_of(**fields), plan, parse_settings(""))
    return {manifest["kind"]: manifest for manifest in objects}


def runtime(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return dict(json.loads(objects["ConfigMap"]["data"]["runtime.json"]))


@pytest.mark.parametrize(
    ("weights", "root"),
    [(GPU_PLAN.weights, "/weights"), (CLAIM_WEIGHTS, "/adapters")],
    ids=["fetched", "claim"],
)
def test_engine_finds_the_drafter_where_the_pod_fetched_it(weights: Any, root: str) -> None:
    objects = rendered(replace(GPU_PLAN, weights=weights, drafter=DRAFTER))
    assert runtime(objects)["drafter"] == {"path": f"{root}/google--drafter/main", "tokens": 4}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    fetcher = next(c for c in pod["initContainers"] if c["name"] == "weights--drafter")
    engine = next(c for c in pod["containers"] if c["name"] == "triton")
    folders = [{mount["mountPath"]: mount["name"] for mount in c["volumeMounts"]} for c in (fetcher, engine)]
    assert folders[0][root] == folders[1][root]


def test_a_shared_cache_holds_the_drafter_as_well() -> None:
    job = rendered(replace(GPU_PLAN, drafter=DRAFTER), cache={})["Job"]
    names = [c["name"] for c in job["spec"]["template"]["spec"]["initContainers"]]
    assert names == ["weights--drafter"]


def test_plan_without_a_drafter_renders_as_if_there_were_no_such_thing() -> None:
    assert "drafter" not in json.dumps(rendered(GPU_PLAN))
