"""KEDA's own manifests as the devcluster changes them, and the Prometheus beside it."""

from typing import Any

from gemma_devcluster.autoscaling import (
    KEDA_ADAPTER,
    KEDA_OPERATOR,
    PROMETHEUS_URL,
    adapted,
    keda_certificate,
    prometheus,
    prometheus_configuration,
)

IMAGES = {KEDA_OPERATOR: "localhost/keda:1", KEDA_ADAPTER: "localhost/keda-adapter:1"}


def deployment(name: str) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/readyz", "port": 8081}, "initialDelaySeconds": 20}
    container = {
        "name": name,
        "image": "ghcr.io/kedacore/keda:latest",
        "args": ["--enable-cert-rotation=true"],
        "readinessProbe": probe,
        "livenessProbe": probe,
        "volumeMounts": [{"name": "certificates", "mountPath": "/certs"}],
    }
    pod = {"serviceAccountName": "keda-operator", "containers": [container]}
    return {"kind": "Deployment", "metadata": {"name": name}, "spec": {"template": {"spec": pod}}}


def test_both_pods_run_what_was_built_here_and_keep_the_rest_of_their_manifests() -> None:
    for name, program in ((KEDA_OPERATOR, "/keda"), (KEDA_ADAPTER, "/keda-adapter")):
        pod = adapted(deployment(name), IMAGES, "authority")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert (container["image"], container["imagePullPolicy"]) == (IMAGES[name], "Never")
        assert container["command"] == [program]
        assert not any("cert-rotation" in argument for argument in container["args"])
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 8081}
        assert container["volumeMounts"] == [{"name": "certificates", "mountPath": "/certs"}]
        assert pod["serviceAccountName"] == "keda-operator"


def test_the_api_server_is_told_whose_certificate_the_adapter_has() -> None:
    service = {"kind": "APIService", "metadata": {"name": "v1"}, "spec": {"group": "external.metrics.k8s.io"}}
    assert adapted(service, IMAGES, "authority")["spec"] == {
        "group": "external.metrics.k8s.io",
        "caBundle": "authority",
    }


def test_the_certificate_has_the_names_by_which_each_side_is_called() -> None:
    names = keda_certificate().alternative_names
    assert "DNS:keda-metrics-apiserver.keda.svc" in names
    assert "DNS:keda-operator.keda.svc.cluster.local" in names


def test_other_manifests_are_keda_s_own() -> None:
    role = {"kind": "ClusterRole", "metadata": {"name": "keda-operator"}, "rules": []}
    assert adapted(role, IMAGES, "authority") == role


def test_prometheus_is_where_the_operator_is_told() -> None:
    (service,) = [each for each in prometheus("image", {}) if each["kind"] == "Service"]
    name, space = service["metadata"]["name"], service["metadata"]["namespace"]
    assert f"http://{name}.{space}.svc:{service['spec']['ports'][0]['port']}" == PROMETHEUS_URL


def test_another_configuration_is_another_pod() -> None:
    def annotations(configuration: dict[str, Any]) -> dict[str, str]:
        (found,) = [each for each in prometheus("image", configuration) if each["kind"] == "Deployment"]
        return dict(found["spec"]["template"]["metadata"]["annotations"])

    plain, broken = prometheus_configuration(), prometheus_configuration(({"action": "labeldrop"},))
    assert annotations(plain) == annotations(prometheus_configuration())
    assert annotations(plain) != annotations(broken)
