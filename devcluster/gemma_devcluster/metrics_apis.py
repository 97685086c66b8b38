"""The metrics APIs of HorizontalPodAutoscalers: metrics-server, and prometheus-adapter with our rules.

Both are installed from the manifests of their own modules, with certificates of the cluster's authority.
"""

from typing import Any

import yaml

from gemma_devcluster import addons
from gemma_devcluster.builder import Binaries
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.installation import CHART
from gemma_devcluster.objects import Manifest, digest
from gemma_devcluster.toolsets import METRICS_SERVER, PROMETHEUS_ADAPTER

SERVER, SERVER_NAMESPACE = "metrics-server", "kube-system"
ADAPTER, ADAPTER_NAMESPACE = "prometheus-adapter", "monitoring"
RESOURCE_API, CUSTOM_API = "v1beta1.metrics.k8s.io", "v1beta1.custom.metrics.k8s.io"
RULES = CHART / "files" / "prometheus-adapter-values.yaml"
"""What the chart ships for users of prometheus-adapter; there is no other copy."""
RELIST_INTERVAL = "15s"
"""How often the adapter looks which series there are: three scrapes of this cluster's Prometheus."""
CPU_REQUEST = "50m"
CERTIFICATES = "/certs"
SERVING_ARGUMENTS = (
    f"--tls-cert-file={CERTIFICATES}/tls.crt",
    f"--tls-private-key-file={CERTIFICATES}/tls.key",
)
ADAPTER_MANIFESTS = (
    "service-account",
    "cluster-role",
    "cluster-role-binding",
    "cluster-role-binding-delegator",
    "role-binding-auth-reader",
    "service",
    "deployment",
)
"""Of its module's deploy/manifests, less what would answer metrics.k8s.io: metrics-server does."""


def install_metrics_server(cluster: Cluster, binaries: Binaries) -> None:
    """`kubectl top`, and Resource metrics of HPAs."""
    image = cluster.load_program(binaries.path(SERVER))
    certificate = addons.serving_certificate(SERVER, SERVER_NAMESPACE, (SERVER,))
    files = addons.certificate_files(cluster, certificate)
    folder = addons.module_folder(METRICS_SERVER) / "manifests" / "base"
    manifests = yaml.safe_load_all(cluster.kubectl.run("kustomize", str(folder)))
    cluster.kubectl.apply(
        [
            addons.secret(SERVER, SERVER_NAMESPACE, files),
            *(adapted(each, SERVER, image, files["ca.crt"]) for each in manifests),
        ]
    )
    addons.await_rollout(cluster, SERVER_NAMESPACE, SERVER)
    addons.await_api(cluster, RESOURCE_API)


def install_prometheus_adapter(
    cluster: Cluster, binaries: Binaries, prometheus_url: str, rules: list[Manifest] | None = None
) -> None:
    """Pods metrics of HPAs, by the rules that the chart ships.

    Args:
        cluster: one with the namespace of its Prometheus.
        binaries: where `prometheus-adapter` is.
        prometheus_url: what it asks.
        rules: others; how tests leave some out.
    """
    image = cluster.load_program(binaries.path(ADAPTER))
    certificate = addons.serving_certificate(ADAPTER, ADAPTER_NAMESPACE, (ADAPTER,))
    files = addons.certificate_files(cluster, certificate)
    configuration = yaml.safe_dump({"rules": shipped_rules() if rules is None else rules}, sort_keys=False)
    folder = addons.module_folder(PROMETHEUS_ADAPTER) / "deploy" / "manifests"
    manifests = [yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ADAPTER_MANIFESTS]
    arguments = [
        "--config=/etc/adapter/config.yaml",
        f"--prometheus-url={prometheus_url}",
        f"--metrics-relist-interval={RELIST_INTERVAL}",
        "--secure-port=6443",
    ]
    cluster.kubectl.apply(
        [
            addons.secret(ADAPTER, ADAPTER_NAMESPACE, files),
            config_map(configuration),
            *(
                with_arguments(adapted(each, ADAPTER, image, ""), arguments, configuration)
                for each in manifests
            ),
            custom_api(files["ca.crt"]),
        ]
    )
    addons.await_rollout(cluster, ADAPTER_NAMESPACE, ADAPTER)
    addons.await_api(cluster, CUSTOM_API)


def shipped_rules() -> list[Manifest]:
    """The adapter's rules as the chart ships them."""
    rules: list[Manifest] = yaml.safe_load(RULES.read_text())["rules"]["custom"]
    return rules


def config_map(configuration: str) -> Manifest:
    """The adapter's configuration, under the name that its Deployment mounts."""
    metadata = {"name": "adapter-config", "namespace": ADAPTER_NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"config.yaml": configuration},
    }


def custom_api(authority: str) -> Manifest:
    """What makes the API server ask the adapter."""
    version, group = CUSTOM_API.split(".", 1)
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": CUSTOM_API},
        "spec": {
            "group": group,
            "version": version,
            "service": {"name": ADAPTER, "namespace": ADAPTER_NAMESPACE},
            "caBundle": authority,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }


def adapted(manifest: Manifest, program: str, image: str, authority: str) -> Manifest:
    """A manifest of a module as this cluster needs it: own image and certificate, small requests, one pod."""
    if manifest["kind"] == "APIService":
        trusted = {k: v for k, v in manifest["spec"].items() if k != "insecureSkipTLSVerify"}
        return {**manifest, "spec": {**trusted, "caBundle": authority}}
    if manifest["kind"] != "Deployment":
        return manifest
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = [each for each in container["args"] if not each.startswith("--cert-dir")]
    changes: dict[str, Any] = {
        "image": image,
        "imagePullPolicy": "Never",
        "command": [f"/{program}"],
        "args": [*given, *SERVING_ARGUMENTS, f"--kubelet-certificate-authority={CERTIFICATES}/ca.crt"],
        "readinessProbe": {"httpGet": container["readinessProbe"]["httpGet"], **addons.PROBE},
        "livenessProbe": {**container["livenessProbe"], **addons.PATIENCE},
        "resources": {"requests": {"cpu": CPU_REQUEST, "memory": "50Mi"}},
        "volumeMounts": [
            *container["volumeMounts"],
            {"name": "certificates", "mountPath": CERTIFICATES, "readOnly": True},
        ],
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    volumes = [*pod["volumes"], {"name": "certificates", "secret": {"secretName": program}}]
    changed = addons.with_container(manifest, changes, {"securityContext": security, "volumes": volumes})
    alone = {"replicas": 1, "strategy": {"type": "Recreate"}}
    return {**changed, "spec": {**changed["spec"], **alone}}


def with_arguments(manifest: Manifest, arguments: list[str], configuration: str) -> Manifest:
    """The adapter's Deployment with its own arguments; another configuration is another pod."""
    if manifest["kind"] != "Deployment":
        return manifest
    changed = addons.with_container(manifest, {"args": [*arguments, *SERVING_ARGUMENTS]})
    template = changed["spec"]["template"]
    annotations = {"devcluster.gemma-operator.dev/configuration": digest(configuration)}
    marked = {**template, "metadata": {**template["metadata"], "annotations": annotations}}
    return {**changed, "spec": {**changed["spec"], "template": marked}}
