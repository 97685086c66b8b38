"""Tracing is off until a collector is named, and then only its port is opened."""

import json
from typing import Any

import pytest

from gemma_operator.api.manifest import CONFIG_HASH_ANNOTATION
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.resources.desired import desired_objects
from gemma_operator.settings import OperatorSettings, SettingsError, parse_settings
from support.plans import CPU_PLAN, OWNER

COLLECTOR = "tracing: {endpoint: 'http://otel-collector.monitoring:4317', samplePercent: 5}"


def rendered(settings: OperatorSettings) -> dict[str, Any]:
    spec = GemmaDeploymentSpec.model_validate({"model": {"variant": "gemma-3-270m"}})
    return {item["kind"]: item for item in desired_objects(OWNER, spec, CPU_PLAN, settings)}


def runtime(objects: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(objects["ConfigMap"]["data"]["runtime.json"])
    return found


def ports(objects: dict[str, Any]) -> set[int]:
    rules = objects["NetworkPolicy"]["spec"]["egress"]
    return {port["port"] for rule in rules for port in rule["ports"]}


def template_hash(objects: dict[str, Any]) -> str:
    annotations = objects["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    return str(annotations[CONFIG_HASH_ANNOTATION])


def test_by_default_nothing_is_traced_and_nothing_opened() -> None:
    assert "tracing" not in runtime(rendered(OperatorSettings()))


def test_a_collector_is_told_to_pods_and_its_port_opened() -> None:
    before, after = rendered(OperatorSettings()), rendered(parse_settings(COLLECTOR))
    assert runtime(after)["tracing"] == {
        "endpoint": "http://otel-collector.monitoring:4317",
        "sample_percent": 5.0,
    }
    assert ports(after) - ports(before) == {4317}


def test_pods_that_run_without_it_are_replaced() -> None:
    assert template_hash(rendered(OperatorSettings())) != template_hash(rendered(parse_settings(COLLECTOR)))


@pytest.mark.parametrize(
    "endpoint", ["otel-collector:4317", "http://otel-collector", "grpc://collector:4317"]
)
def test_a_collector_without_scheme_or_port_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"tracing\.endpoint"):
        parse_settings(f"tracing: {{endpoint: '{endpoint}'}}")
