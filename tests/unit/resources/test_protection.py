import json
from typing import Any

import kubernetes_validate
import pytest
from pydantic import ValidationError

from gemma_operator.api.manifest import Manifest, Owner, selector_labels
from gemma_operator.resources.desired import desired_objects
from gemma_operator.settings import parse_settings
from gemma_serving.contract import RuntimeConfig
from support.plans import CPU_PLAN, OWNER, spec_of

SETTINGS = parse_settings("")
FIELDS: dict[str, Any] = {
    "access": {
        "apiKeysSecretRef": {"name": "keys"},
        "limits": {"requestsPerMinute": 60, "tokensPerRequest": 100},
        "limitStore": {"urlSecretRef": {"name": "store"}, "port": 6380, "onFailure": "Closed"},
    },
    "safety": {
        "maxInputCharacters": 1000,
        "blockedTermsConfigMapRef": {"name": "terms"},
        "guardRef": {"name": "shield", "apiKeySecretRef": {"name": "shield-key", "key": "gateway"}},
        "policies": ["HateSpeech"],
        "stages": ["Output"],
        "onGuardFailure": "Open",
    },
}


def objects(**fields: Any) -> dict[str, Manifest]:
    return {m["kind"]: m for m in desired_objects(OWNER, spec_of(**fields), CPU_PLAN, SETTINGS)}


def runtime(**fields: Any) -> RuntimeConfig:
    return RuntimeConfig.from_json(objects(**fields)["ConfigMap"]["data"]["runtime.json"])


def containers(manifest: Manifest) -> dict[str, Manifest]:
    return {c["name"]: c for c in manifest["spec"]["template"]["spec"]["containers"]}


def test_the_gateway_is_told_where_everything_is() -> None:
    config = runtime(**FIELDS)
    assert config.access is not None
    assert config.access.keys_path == "/etc/gemma-keys"
    assert config.access.limits.requests_per_minute == 60
    assert config.access.limits.tokens_per_request == 100
    assert config.access.limit_store_url_path == "/etc/gemma-limit-store/url"
    assert config.access.limit_store_failure == "Closed"
    assert config.safety is not None
    assert config.safety.guard_url == f"http://shield.{OWNER.namespace}.svc:80"
    assert config.safety.guard_key_path == "/etc/gemma-guard/gateway"
    assert (config.safety.policies, config.safety.stages) == (["HateSpeech"], ["Output"])
    assert config.safety.on_guard_failure == "Open"


def test_only_the_gateway_reads_secrets_and_none_is_in_runtime_json() -> None:
    made = objects(**FIELDS)
    mounted = {
        name: {m["mountPath"] for m in container["volumeMounts"]}
        for name, container in containers(made["Deployment"]).items()
    }
    secret = {"/etc/gemma-keys", "/etc/gemma-limit-store", "/etc/gemma-terms", "/etc/gemma-guard"}
    assert secret <= mounted["gateway"]
    assert not secret & mounted["triton"]
    for manifest in made.values():
        kubernetes_validate.validate(manifest, "1.36", strict=True)


def test_a_missing_key_secret_does_not_keep_pods_from_starting() -> None:
    volumes = objects(**FIELDS)["Deployment"]["spec"]["template"]["spec"]["volumes"]
    (keys,) = [volume for volume in volumes if volume["name"] == "keys"]
    assert keys["secret"] == {"secretName": "keys", "optional": True}


def test_pods_reach_the_guard_and_the_store_and_no_more_than_before() -> None:
    plain, guarded = (objects(**fields)["NetworkPolicy"]["spec"]["egress"] for fields in ({}, FIELDS))
    guard = Owner(name="shield", namespace=OWNER.namespace, uid="u", generation=1)
    added = [rule for rule in guarded if rule not in plain]
    assert added == [
        {
            "to": [{"podSelector": {"matchLabels": selector_labels(guard, "serving")}}],
            "ports": [{"port": 8080, "protocol": "TCP"}],
        },
        {"ports": [{"port": 6380, "protocol": "TCP"}]},
    ]


def test_without_the_fields_nothing_is_added() -> None:
    content = json.loads(objects()["ConfigMap"]["data"]["runtime.json"])
    assert not {"access", "safety"} & set(content)


@pytest.mark.parametrize(
    "fields",
    [
        {"access": {"limits": {"requestsPerMinute": 0}}},
        {"safety": {"policies": ["Nothing"]}},
        {"safety": {"stages": []}},
        {"access": {"limitStore": {"urlSecretRef": {"name": "x"}, "onFailure": "Maybe"}}},
    ],
)
def test_settings_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec_of(**fields)
