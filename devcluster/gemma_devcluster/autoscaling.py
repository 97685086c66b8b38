"""What `up --with autoscaling` adds to a cluster as pods: Prometheus, the metrics APIs of HPAs, and KEDA.

KEDA is installed from the manifests that its Go module carries, without its admission webhooks. All of it
goes with the cluster.
"""

from pathlib import Path
from typing import Any

import yaml

from gemma_devcluster import addons, builder, metrics_apis, pki
from gemma_devcluster.builder import Binaries
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.installation import namespace
from gemma_devcluster.objects import Manifest, digest, granted
from gemma_devcluster.toolsets import KEDA, METRICS_SERVER, PROMETHEUS, PROMETHEUS_ADAPTER

TOOL_SETS = (KEDA, METRICS_SERVER, PROMETHEUS, PROMETHEUS_ADAPTER)
KEDA_NAMESPACE = "keda"
KEDA_OPERATOR, KEDA_ADAPTER = "keda-operator", "keda-metrics-apiserver"
"""Its two Deployments, and their Services."""
CERTIFICATE_SECRET = "kedaorg-certs"
PROGRAMS = {KEDA_OPERATOR: "keda", KEDA_ADAPTER: "keda-adapter"}
ARGUMENTS = {
    KEDA_OPERATOR: ["--zap-log-level=info", "--zap-encoder=console"],
    KEDA_ADAPTER: [
        "--secure-port=6443",
        "--zap-log-level=error",
        "--client-ca-file=/certs/ca.crt",
        "--tls-cert-file=/certs/tls.crt",
        "--tls-private-key-file=/certs/tls.key",
        "--cert-dir=/certs",
    ],
}
"""KEDA's own, without leader election (there is one) and without its rotation of certificates."""
PROMETHEUS_NAMESPACE = "monitoring"
PROMETHEUS_URL = f"http://prometheus.{PROMETHEUS_NAMESPACE}.svc:9090"
SCRAPE_INTERVAL = "5s"
POD_META = "__meta_kubernetes_pod"
CPU_REQUEST = "100m"
"""Of each pod: the node has few cores, and the endpoints are to have them."""


def install(cluster: Cluster) -> None:
    """Build what is not built yet, put it on a running cluster, and return when all of it is ready.

    Raises:
        DevclusterError: a build failed, or a pod did not become ready.
    """
    binaries = builder.ensure(TOOL_SETS)
    install_prometheus(cluster, binaries)
    metrics_apis.install_metrics_server(cluster, binaries)
    metrics_apis.install_prometheus_adapter(cluster, binaries, PROMETHEUS_URL)
    install_keda(cluster, binaries)


def install_keda(cluster: Cluster, binaries: Binaries) -> None:
    """KEDA's operator and its metrics adapter, with certificates of the cluster's authority."""
    images = {name: cluster.load_program(binaries.path(program)) for name, program in PROGRAMS.items()}
    encoded = addons.certificate_files(cluster, keda_certificate())
    rendered = cluster.kubectl.run("kustomize", str(keda_manifests()))
    manifests = [adapted(each, images, encoded["ca.crt"]) for each in yaml.safe_load_all(rendered)]
    # Definitions and the namespace have to be there before what is of them or in it.
    first = [each for each in manifests if each["kind"] in ("CustomResourceDefinition", "Namespace")]
    cluster.kubectl.apply(first)
    cluster.kubectl.apply(
        [
            addons.secret(CERTIFICATE_SECRET, KEDA_NAMESPACE, encoded),
            *(each for each in manifests if each not in first),
        ]
    )
    for deployment in PROGRAMS:
        addons.await_rollout(cluster, KEDA_NAMESPACE, deployment)
    addons.await_api(cluster, "v1beta1.external.metrics.k8s.io")


def install_prometheus(cluster: Cluster, binaries: Binaries, relabel: tuple[Manifest, ...] = ()) -> None:
    """A Prometheus that scrapes whatever pods say that they are to be scraped.

    Args:
        cluster: a running one.
        binaries: where `prometheus` is.
        relabel: more relabelling of targets; how tests break labels.
    """
    image = cluster.load_program(binaries.path("prometheus"))
    cluster.kubectl.apply([namespace(PROMETHEUS_NAMESPACE)])
    cluster.kubectl.apply(prometheus(image, prometheus_configuration(relabel)))
    addons.await_rollout(cluster, PROMETHEUS_NAMESPACE, "prometheus")


def keda_manifests() -> Path:
    """The folder of KEDA's kustomization without webhooks, in the module at the pinned version.

    Raises:
        DevclusterError: the module cannot be fetched.
    """
    return addons.module_folder(KEDA) / "config" / "minimal"


def keda_certificate() -> pki.Certificate:
    """One for both: the adapter shows it to the API server, and both show it to each other."""
    return addons.serving_certificate("keda", KEDA_NAMESPACE, tuple(PROGRAMS))


def adapted(manifest: Manifest, images: dict[str, str], authority: str) -> Manifest:
    """A manifest of KEDA's as this cluster needs it: own images, own certificates, small requests."""
    name = manifest["metadata"]["name"]
    if manifest["kind"] == "APIService":
        return {**manifest, "spec": {**manifest["spec"], "caBundle": authority}}
    if manifest["kind"] != "Deployment":
        return manifest
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    changes = {
        "image": images[name],
        "imagePullPolicy": "Never",
        "command": [f"/{PROGRAMS[name]}"],
        "args": ARGUMENTS[name],
        "readinessProbe": {"httpGet": container["readinessProbe"]["httpGet"], **addons.PROBE},
        "livenessProbe": {**container["livenessProbe"], **addons.PATIENCE},
        "resources": {"requests": {"cpu": CPU_REQUEST, "memory": "100Mi"}},
    }
    return addons.with_container(manifest, changes)


def prometheus_configuration(relabel: tuple[Manifest, ...] = ()) -> Manifest:
    """Pods by their `prometheus.io/` annotations, as the community's chart does it."""
    annotation = f"{POD_META}_annotation_prometheus_io"
    targets: list[Manifest] = [
        {"source_labels": [f"{annotation}_scrape"], "regex": "true", "action": "keep"},
        {"source_labels": [f"{POD_META}_phase"], "regex": "Pending|Succeeded|Failed", "action": "drop"},
        {
            "source_labels": [f"{POD_META}_ip", f"{annotation}_port"],
            "separator": ":",
            "target_label": "__address__",
        },
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{POD_META}_name"], "target_label": "pod"},
        *relabel,
    ]
    # Each container port of a pod is a target of its own; they become one by having one address.
    job = {"job_name": "pods", "kubernetes_sd_configs": [{"role": "pod"}], "relabel_configs": targets}
    return {"global": {"scrape_interval": SCRAPE_INTERVAL}, "scrape_configs": [job]}


def prometheus(image: str, configuration: Manifest) -> list[Manifest]:
    """Its objects. Another configuration is another pod, which keeps nothing of the old one's samples."""
    text = yaml.safe_dump(configuration, sort_keys=False)
    metadata: dict[str, Any] = {"name": "prometheus", "namespace": PROMETHEUS_NAMESPACE}
    labels = {"app.kubernetes.io/name": "prometheus"}
    account = {"kind": "ServiceAccount", **metadata}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *granted("devcluster:prometheus", (("", ("pods",), ("get", "list", "watch")),), account),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"prometheus.yaml": text}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {"devcluster.gemma-operator.dev/configuration": digest(text)},
                    },
                    "spec": _prometheus_pod(image),
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 9090, "targetPort": "http"}]},
        },
    ]


def _prometheus_pod(image: str) -> Manifest:
    container = {
        "name": "prometheus",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["--config.file=/etc/prometheus/prometheus.yaml", "--storage.tsdb.path=/data"],
        "ports": [{"name": "http", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, **addons.PROBE},
        "resources": {"requests": {"cpu": CPU_REQUEST, "memory": "100Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    return {
        "serviceAccountName": "prometheus",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
        ],
    }
