"""The operator, with exactly the chart's roles, uses every permission it is given: the audit log has each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.conftest import SYSTEM_NAMESPACE
from apiserver.operator_process import CHANGE_SECONDS, OperatorProcess, kubeconfig_for
from apiserver.permissions import account_of, granted, grants, refused, used
from cluster.endpoint import Endpoint
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value
from gemma_operator.api.base import GROUP
from gemma_operator.api.manifest import MANAGER, OWNER_LABEL, ROLE_LABEL
from gemma_operator.kube.kinds import CHILD_KINDS, Kind

SPEC: dict[str, Any] = {"model": {"variant": "gemma-3-270m", "contextLength": 1024}}
COMPONENT = "app.kubernetes.io/component"
SCALING = {"scaling": {"prometheusUrl": "http://127.0.0.1:9", "hpaMetrics": "GKE"}}
"""Nobody answers there: what is proved here is what is written, not what the metric says."""
ROUTED = {"gatewayApi": {"parentRefs": [{"name": "public"}], "endpointPicker": {}}}
UNAPPROVED = {"api-approved.kubernetes.io": "unapproved, stands in for the real one"}
"""Asked for by the API server where a group ends in k8s.io."""
KINDS = ",".join(kind.plural for kind in CHILD_KINDS)
SECONDS = "--timeout=60s"
READ_BY_ADMISSION = {("update", GROUP, "gemmadeployments/finalizers")}
"""Never asked for by a request: OpenShift's admission looks at it when an owner reference blocks deletion."""
SERVER_MADE = ("uid", "resourceVersion", "managedFields", "creationTimestamp", "generation")


def definition(kind: Kind) -> dict[str, Any]:
    """A CRD that takes anything, in place of an add-on's own."""
    group, _, version = kind.api_version.partition("/")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}", "annotations": UNAPPROVED},
        "spec": {
            "group": group,
            "names": {"kind": kind.name, "plural": kind.plural},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


@pytest.fixture
def add_ons(kubectl: Kubectl) -> Iterator[None]:
    """Every API that the operator uses where a cluster has it."""
    definitions = [definition(kind) for kind in CHILD_KINDS if kind.optional]
    names = [f"crd/{d['metadata']['name']}" for d in definitions]
    kubectl.apply(definitions)
    established = '--for=jsonpath={.status.conditions[?(@.type=="Established")].status}=True'
    kubectl.run("wait", *names, established, SECONDS)
    yield
    kubectl.run("delete", *names)


@pytest.fixture(params=["cluster-wide", "namespaced"])
def documents(
    request: pytest.FixtureRequest, kubectl: Kubectl, namespace: str
) -> Iterator[list[dict[str, Any]]]:
    """The chart's grants, applied; gone again after the test."""
    watched = [namespace] if request.param == "namespaced" else []
    rendered = grants(request.param, watched, "operator", replicas=2)  # two need the Lease
    kubectl.apply(rendered)
    yield rendered
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered})
    kubectl.run("delete", "--ignore-not-found", "-f", "-", stdin=content)


@pytest.fixture
def account(documents: list[dict[str, Any]]) -> str:
    return account_of(documents)


@pytest.fixture
def process(
    control_plane: Cluster, documents: list[dict[str, Any]], account: str, namespace: str, tmp_path: Path
) -> Iterator[OperatorProcess]:
    token = control_plane.kubectl.run("create", "token", account, "-n", SYSTEM_NAMESPACE).strip()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubeconfig_for(control_plane.kubeconfig(), token))
    has_roles = any(d["kind"] == "Role" and d["metadata"]["namespace"] == namespace for d in documents)
    settings = {**SCALING, **ROUTED, **({"watchNamespaces": [namespace]} if has_roles else {})}
    running = OperatorProcess(kubeconfig, tmp_path, settings, ["--lease", f"{SYSTEM_NAMESPACE}/{account}"])
    lease = ("-n", SYSTEM_NAMESPACE, "delete", "lease", account, "--ignore-not-found")
    try:
        running.start()
        yield running
    finally:
        running.kill()
        control_plane.kubectl.run(*lease)


def children(endpoint: Endpoint) -> list[dict[str, Any]]:
    selector = f"app.kubernetes.io/managed-by={MANAGER}"
    items: list[dict[str, Any]] = endpoint.cluster.get(KINDS, "-n", endpoint.namespace, "-l", selector)[
        "items"
    ]
    return items


def _has_every_kind(endpoint: Endpoint) -> bool:
    return {manifest["kind"] for manifest in children(endpoint)} >= {kind.name for kind in CHILD_KINDS}


def address(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"


def copied(manifest: dict[str, Any], sibling: dict[str, Any]) -> dict[str, Any]:
    """An object of that kind that the sibling's owner does not want."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in SERVER_MADE}
    metadata["name"] = f"stale-{manifest['metadata']['name']}"
    metadata["labels"] = {**metadata["labels"], OWNER_LABEL: sibling["metadata"]["labels"][OWNER_LABEL]}
    metadata["ownerReferences"] = sibling["metadata"]["ownerReferences"]
    copy = {**manifest, "metadata": metadata}
    copy.pop("status", None)
    if manifest["kind"] == "Service":
        copy["spec"] = {k: v for k, v in copy["spec"].items() if k not in ("clusterIP", "clusterIPs")}
    if manifest["kind"] == "Job":
        copy["spec"] = {k: v for k, v in copy["spec"].items() if k != "selector"}
        template = copy["spec"]["template"]
        for labels in (metadata["labels"], template["metadata"]["labels"]):
            for name in [n for n in labels if "controller-uid" in n or "job-name" in n]:
                del labels[name]
    return copy


def be_fetching(cached: Endpoint) -> None:
    """What the kubelet would say while weights come, so that the operator looks how far they are."""
    pods = ("pods", "-l", f"{OWNER_LABEL}={cached.name},{ROLE_LABEL}=weights")
    cached.kubectl("wait", *pods, "--for=create", SECONDS)
    (pod,) = cached.cluster.get(*pods, "-n", cached.namespace)["items"]
    started = {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}
    image = {"image": "x", "imageID": "x", "ready": True, "restartCount": 0}
    status = {"status": {"containerStatuses": [{"name": "weights", "state": started, **image}]}}
    name = pod["metadata"]["name"]
    cached.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    cached.wait_reason("WeightsReady", "Fetching")


def live_a_life(endpoint: Endpoint) -> None:
    """Make every kind of child, have each put back, and have each removed that is not wanted any more."""
    cached = Endpoint(endpoint.cluster, endpoint.namespace, "cached")
    endpoint.apply({**SPEC, "replicas": 2})
    cached.apply({**SPEC, "cache": {}})
    endpoint.wait_reason("Ready", "Unschedulable")
    cached.wait_reason("Ready", "WeightsPending")
    for backend in ("KEDA", "HPA"):
        scaled = Endpoint(endpoint.cluster, endpoint.namespace, backend.lower())
        scaled.apply({**SPEC, "scaling": {"maxReplicas": 2, "backend": backend}})
    await_value(lambda: _has_every_kind(endpoint) or None, CHANGE_SECONDS, "a child of every kind")
    be_fetching(cached)
    found = children(endpoint)
    one_of_each = {manifest["kind"]: manifest for manifest in found}
    for manifest in one_of_each.values():
        was = manifest["metadata"]["labels"][COMPONENT]
        endpoint.kubectl("label", address(manifest), f"{COMPONENT}=foreign", "--overwrite")
        path = COMPONENT.replace(".", "\\.")
        endpoint.kubectl(
            "wait", address(manifest), f"--for=jsonpath={{.metadata.labels.{path}}}={was}", SECONDS
        )
    endpoint.apply({**SPEC, "replicas": 2, "monitoring": {"scrape": "None"}})
    endpoint.wait_observed()
    # Its sibling is not waiting for weights: until they are there, nothing is removed.
    [sibling] = [m for m in found if m["kind"] == "Deployment" and m["metadata"]["name"] == endpoint.name]
    stale = [copied(manifest, sibling) for manifest in one_of_each.values()]
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": stale})
    endpoint.cluster.run("-n", endpoint.namespace, "create", "-f", "-", stdin=content)
    for manifest in stale:
        endpoint.kubectl("wait", address(manifest), "--for=delete", SECONDS)


def test_every_permission_of_the_chart_is_used_and_none_is_missing(
    control_plane: Cluster,
    add_ons: None,
    process: OperatorProcess,
    documents: list[dict[str, Any]],
    account: str,
    endpoint: Endpoint,
) -> None:
    user = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account}"
    live_a_life(endpoint)
    process.stop()  # a watch is in the log when it ends
    # The whole log: the account is this mode's, and its first requests opened the watches.
    log = control_plane.layout.audit_log
    assert granted(documents) - used(log, user) == READ_BY_ADMISSION
    assert refused(log, user) == []
