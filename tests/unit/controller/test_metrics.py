"""How a request to the Kubernetes API is counted."""

import pytest

from gemma_operator.controller.metrics import Metrics, resource_of, verb_of
from gemma_operator.kube.apiserver import APPLY_PATCH, MERGE_PATCH, Request

PODS = "/api/v1/namespaces/chat/pods"
GEMMA = "/apis/serving.gemma-operator.dev/v1alpha1/namespaces/chat/gemmadeployments"


@pytest.mark.parametrize(
    ("request_", "verb", "resource"),
    [
        (Request("GET", "/api/v1/pods"), "list", "pods"),
        (Request("GET", PODS, {"watch": "true"}), "watch", "pods"),
        (Request("GET", PODS + "/a"), "get", "pods"),
        (Request("GET", "/api/v1/namespaces/chat"), "get", "namespaces"),
        (Request("GET", "/apis/serving.gemma-operator.dev/v1alpha1"), "get", "discovery"),
        (Request("PATCH", GEMMA + "/a/status", content_type=MERGE_PATCH), "patch", "gemmadeployments/status"),
        (Request("PATCH", GEMMA + "/a", content_type=APPLY_PATCH), "apply", "gemmadeployments"),
        (Request("POST", PODS), "create", "pods"),
        (Request("PUT", PODS + "/a"), "update", "pods"),
        (Request("DELETE", PODS + "/a"), "delete", "pods"),
        (Request("DELETE", PODS), "deletecollection", "pods"),
    ],
)
def test_a_request_is_named_by_verb_and_resource(request_: Request, verb: str, resource: str) -> None:
    assert (verb_of(request_), resource_of(request_.path)) == (verb, resource)


def test_requests_about_many_objects_are_one_series() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.observe_request(Request("DELETE", f"{PODS}/pod-{number}"), 200)
    series = [line for line in metrics.page().decode().splitlines() if "api_requests_total{" in line]
    assert series == ['gemma_operator_api_requests_total{code="200",resource="pods",verb="delete"} 100.0']
