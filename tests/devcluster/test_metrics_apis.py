"""metrics-server and prometheus-adapter as the devcluster installs them, and the rules that the chart has."""

import re
from typing import Any

import pytest

from gemma_devcluster.metrics_apis import (
    ADAPTER,
    CUSTOM_API,
    SERVER,
    adapted,
    custom_api,
    shipped_rules,
    with_arguments,
)
from gemma_operator.resources.autoscaling.signals import KV_USED, RUNNING, WAITING


def deployment() -> dict[str, Any]:
    probe = {"httpGet": {"path": "/readyz", "port": "https"}, "initialDelaySeconds": 20}
    container = {
        "name": "main",
        "image": "registry.example/main:latest",
        "args": ["--cert-dir=/tmp", "--secure-port=10250"],
        "readinessProbe": probe,
        "livenessProbe": probe,
        "volumeMounts": [{"name": "tmp-dir", "mountPath": "/tmp"}],
    }
    pod = {"serviceAccountName": "main", "containers": [container], "volumes": [{"name": "tmp-dir"}]}
    template = {"metadata": {"labels": {"app": "main"}}, "spec": pod}
    return {"kind": "Deployment", "metadata": {"name": "main"}, "spec": {"replicas": 2, "template": template}}


def test_a_pod_runs_what_was_built_here_and_keeps_the_rest_of_its_manifest() -> None:
    found = adapted(deployment(), SERVER, "localhost/metrics-server:1", "authority")["spec"]
    pod = found["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["command"]) == ("localhost/metrics-server:1", ["/metrics-server"])
    assert "--secure-port=10250" in container["args"]
    assert not any(argument.startswith("--cert-dir") for argument in container["args"])
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp-dir", "certificates"]
    assert (pod["serviceAccountName"], found["replicas"]) == ("main", 1)


def test_kubelets_and_the_api_server_are_trusted_by_the_cluster_s_authority_alone() -> None:
    (container,) = adapted(deployment(), SERVER, "image", "")["spec"]["template"]["spec"]["containers"]
    assert "--kubelet-certificate-authority=/certs/ca.crt" in container["args"]
    service = {"kind": "APIService", "spec": {"group": "metrics.k8s.io", "insecureSkipTLSVerify": True}}
    assert adapted(service, SERVER, "image", "authority")["spec"] == {
        "group": "metrics.k8s.io",
        "caBundle": "authority",
    }


def test_other_rules_are_another_pod() -> None:
    def marked(configuration: str) -> dict[str, str]:
        changed = with_arguments(adapted(deployment(), ADAPTER, "image", ""), ["--config=c"], configuration)
        return dict(changed["spec"]["template"]["metadata"]["annotations"])

    assert marked("one") == marked("one")
    assert marked("one") != marked("other")


def test_the_api_server_is_told_where_custom_metrics_are() -> None:
    spec = custom_api("authority")["spec"]
    assert f"{spec['version']}.{spec['group']}" == CUSTOM_API
    assert spec["service"]["name"] == ADAPTER


@pytest.mark.parametrize("metric", [WAITING, RUNNING, KV_USED])
def test_the_rules_that_ship_have_every_metric_that_an_hpa_asks_for(metric: str) -> None:
    (rule,) = shipped_rules()
    (names,) = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    assert re.fullmatch(names, metric)
    assert rule["resources"]["overrides"] == {
        "namespace": {"resource": "namespace"},
        "pod": {"resource": "pod"},
    }
