"""Rollouts on a real API server and its Deployment controller. No kubelet: no pod is ever ready here."""

import json
from typing import Any

import pytest

from apiserver.operator_process import OperatorProcess
from cluster.endpoint import Endpoint
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value
from gemma_operator.api.crd import CRD_NAME

SPEC: dict[str, Any] = {"model": {"variant": "gemma-3-270m"}, "hardware": {"accelerator": "cpu", "cpu": "1"}}
EDITED: dict[str, Any] = {**SPEC, "hardware": {"accelerator": "cpu", "cpu": "2"}}
TEMPLATE = "jsonpath={.metadata.annotations.serving\\.gemma-operator\\.dev/template-hash}"
RENDERED = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/rendered"


@pytest.fixture
def endpoint(kubectl: Kubectl, namespace: str) -> Endpoint:
    return Endpoint(kubectl, namespace, "assistant")


def template(endpoint: Endpoint) -> str:
    return endpoint.kubectl("get", "deployment/assistant", "-o", TEMPLATE)


def started(endpoint: Endpoint, spec: dict[str, Any]) -> None:
    endpoint.apply(spec)
    endpoint.wait_observed()
    endpoint.wait_reason("Ready", "Unschedulable")


def test_an_edit_over_broken_pods_ends_on_a_full_cluster(
    operator: OperatorProcess, endpoint: Endpoint
) -> None:
    """With a surge that insists on the old pod, the second template would never get a pod of its own."""
    started(endpoint, SPEC)
    before = template(endpoint)
    endpoint.apply(EDITED)
    await_value(
        lambda: endpoint.kubectl("get", "deployment/assistant", "-o", TEMPLATE) != before or None,
        30.0,
        "edit",
    )
    endpoint.kubectl("wait", "deployment/assistant", "--for=jsonpath={.status.replicas}=1", "--timeout=60s")
    endpoint.kubectl(
        "wait", "deployment/assistant", "--for=jsonpath={.status.updatedReplicas}=1", "--timeout=60s"
    )
    endpoint.wait_reason("UpToDate", "UpToDate")


def test_a_served_crd_without_a_status_field_still_takes_the_rest(
    operator: OperatorProcess, endpoint: Endpoint, kubectl: Kubectl
) -> None:
    """As after an upgrade of the operator without its CRD."""
    schema = kubectl.get("crd", CRD_NAME)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    field = schema["properties"]["status"]["properties"]["rendered"]
    patch(kubectl, {"op": "remove", "path": RENDERED})
    try:
        started(endpoint, SPEC)
        assert "rendered" not in endpoint.manifest()["status"]
        assert endpoint.manifest()["status"]["observedGeneration"] == 1
    finally:
        patch(kubectl, {"op": "add", "path": RENDERED, "value": field})


def patch(kubectl: Kubectl, *operations: dict[str, Any]) -> None:
    kubectl.run("patch", "crd", CRD_NAME, "--type=json", "-p", json.dumps(operations))
