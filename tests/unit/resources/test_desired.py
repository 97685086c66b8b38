import json
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from gemma_operator.api.manifest import Manifest, Owner, is_kept_for_weights, object_key, referring_uids
from gemma_operator.planning.origin import ClaimOrigin, HubOrigin
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.layout import weights_path
from gemma_operator.settings import OperatorSettings, parse_settings
from gemma_serving.contract import RuntimeConfig
from support.plans import CLAIM_WEIGHTS, COMMIT, CPU_PLAN, GPU_PLAN, OWNER, from_origin, spec_of

SETTINGS = parse_settings("")
KUBERNETES = "1.36"

SHAPES: dict[str, tuple[Plan, dict[str, Any]]] = {
    "cpu": (CPU_PLAN, {}),
    "two replicas": (CPU_PLAN, {"replicas": 2}),
    "cache": (
        CPU_PLAN,
        {"cache": {"size": "2Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany"}},
    ),
    "own cache claim": (CPU_PLAN, {"cache": {"claimName": "models"}}),
    "own weights claim": (replace(CPU_PLAN, weights=CLAIM_WEIGHTS), {}),
    "gpu": (GPU_PLAN, {"replicas": 3, "cache": {}}),
    "suspended": (CPU_PLAN, {"suspend": True}),
}
every_shape = pytest.mark.parametrize(("plan", "fields"), SHAPES.values(), ids=SHAPES.keys())


def desired(
    plan: Plan = CPU_PLAN, settings: OperatorSettings = SETTINGS, owner: Owner = OWNER, **fields: Any
) -> tuple[Manifest, ...]:
    return desired_objects(owner, spec_of(**fields), plan, settings)


def of_kind(objects: tuple[Manifest, ...], kind: str) -> list[Manifest]:
    return [manifest for manifest in objects if manifest["kind"] == kind]


def kinds(objects: tuple[Manifest, ...]) -> list[str]:
    return [manifest["kind"] for manifest in objects]


@every_shape
def test_every_object_is_valid_without_an_unknown_field(plan: Plan, fields: dict[str, Any]) -> None:
    for manifest in desired(plan, **fields):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@every_shape
def test_every_object_goes_with_its_owner(plan: Plan, fields: dict[str, Any]) -> None:
    for manifest in desired(plan, **fields):
        assert referring_uids(manifest) == {OWNER.uid}
        (reference,) = manifest["metadata"]["ownerReferences"]
        assert reference.get("controller", False) is not is_kept_for_weights(manifest)
        assert manifest["metadata"]["namespace"] == OWNER.namespace


@every_shape
def test_rendering_twice_gives_the_same_bytes(plan: Plan, fields: dict[str, Any]) -> None:
    assert json.dumps(desired(plan, **fields)) == json.dumps(desired(plan, **fields))


@every_shape
def test_keys_are_unique(plan: Plan, fields: dict[str, Any]) -> None:
    keys = [object_key(manifest) for manifest in desired(plan, **fields)]
    assert len(set(keys)) == len(keys)


@every_shape
def test_nothing_rendered_is_null(plan: Plan, fields: dict[str, Any]) -> None:
    assert "null" not in json.dumps(desired(plan, **fields))


def test_the_longest_name_gives_valid_names() -> None:
    owner = replace(OWNER, name="a" * 63)
    for manifest in desired(owner=owner, replicas=2, cache={}):
        assert len(manifest["metadata"]["name"]) <= 63


def test_no_budget_for_one_replica_nor_for_none() -> None:
    assert of_kind(desired(replicas=1), "PodDisruptionBudget") == []
    assert of_kind(desired(replicas=2, suspend=True), "PodDisruptionBudget") == []


def test_a_budget_always_allows_one_eviction() -> None:
    (budget,) = of_kind(desired(replicas=2), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert "minAvailable" not in budget["spec"]


def test_runtime_json_is_what_the_pods_read() -> None:
    (config_map,) = of_kind(desired(), "ConfigMap")
    config = RuntimeConfig.from_json(config_map["data"]["runtime.json"])
    assert (config.model, config.context_length, config.engine) == ("assistant", 8192, "llamacpp")
    assert config.weights_path == weights_path(CPU_PLAN.weights)


@pytest.mark.parametrize(
    ("plan", "path"),
    [
        (CPU_PLAN, f"/weights/google--gemma-3-270m/{COMMIT}/gemma-3-270m-Q4_K_M.gguf"),
        (GPU_PLAN, f"/weights/google--gemma-3-27b-it/{COMMIT}"),
        (replace(CPU_PLAN, weights=CLAIM_WEIGHTS), "/weights/gemma/270m/gemma-3-270m-Q4_K_M.gguf"),
        (
            replace(CPU_PLAN, weights=replace(CLAIM_WEIGHTS, origin=ClaimOrigin("models"), entry=".")),
            "/weights",
        ),
    ],
)
def test_the_engine_opens_what_was_put_there(plan: Plan, path: str) -> None:
    assert weights_path(plan.weights) == path


def test_a_cache_brings_a_job_and_a_claim_of_ours() -> None:
    assert {"Job", "PersistentVolumeClaim"} <= set(kinds(desired(cache={})))


def test_a_claim_given_by_the_user_is_never_made() -> None:
    objects = desired(cache={"claimName": "models"})
    assert of_kind(objects, "PersistentVolumeClaim") == []
    (job,) = of_kind(objects, "Job")
    (volume,) = [v for v in job["spec"]["template"]["spec"]["volumes"] if v["name"] == "weights"]
    assert volume["persistentVolumeClaim"]["claimName"] == "models"


def test_weights_in_a_claim_need_no_job() -> None:
    objects = desired(replace(CPU_PLAN, weights=CLAIM_WEIGHTS))
    assert {"Job", "PersistentVolumeClaim"}.isdisjoint(kinds(objects))


def test_the_claim_holds_the_files_and_a_tenth_more() -> None:
    (claim,) = of_kind(desired(GPU_PLAN, cache={}), "PersistentVolumeClaim")
    assert claim["spec"]["resources"]["requests"]["storage"] == "57Gi"


def test_what_is_immutable_in_a_claim_or_a_job_changes_its_name() -> None:
    def names(plan: Plan, **fields: Any) -> set[str]:
        return {
            m["metadata"]["name"]
            for m in desired(plan, **fields)
            if m["kind"] in ("Job", "PersistentVolumeClaim")
        }

    moved = from_origin(CPU_PLAN, HubOrigin("google/gemma-3-270m", "f" * 40))
    assert names(CPU_PLAN, cache={}).isdisjoint(names(moved, cache={}))
    assert names(CPU_PLAN, cache={}).isdisjoint(names(CPU_PLAN, cache={"size": "9Gi"}))
    assert names(CPU_PLAN, cache={}) == names(CPU_PLAN, cache={}, replicas=7)


def egress_ports(policy: Manifest) -> set[int]:
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


def test_serving_pods_reach_the_hub_only_while_they_fetch_for_themselves() -> None:
    (alone,) = of_kind(desired(), "NetworkPolicy")
    serving, weights = of_kind(desired(cache={}), "NetworkPolicy")
    assert egress_ports(alone) == {53, 443}
    assert egress_ports(serving) == {53}
    assert egress_ports(weights) == {53, 443}
    assert weights["spec"]["ingress"] == []


def test_a_mirror_is_reached_at_its_own_port() -> None:
    settings = parse_settings("huggingFaceEndpoint: http://mirror.models:8000")
    (policy,) = of_kind(desired(settings=settings), "NetworkPolicy")
    assert egress_ports(policy) == {53, 8000}


def test_network_policies_can_be_left_to_others() -> None:
    assert of_kind(desired(settings=parse_settings("networkPolicy: {enabled: false}")), "NetworkPolicy") == []


def test_only_the_gateways_ports_are_open() -> None:
    (policy,) = of_kind(desired(), "NetworkPolicy")
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == [8080, 9090]


def test_pull_secrets_reach_every_pod() -> None:
    objects = desired(settings=parse_settings("imagePullSecrets: [registry]"), cache={})
    pods = [m["spec"]["template"]["spec"] for m in objects if m["kind"] in ("Job", "Deployment")]
    assert [pod["imagePullSecrets"] for pod in pods] == [[{"name": "registry"}]] * 2
