"""`replicas` of a Deployment between the operator and an autoscaler, on a real API server."""

from typing import Any

import pytest

from apiserver.operator_process import OperatorProcess
from cluster.endpoint import Endpoint
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.waiting import await_value

SPEC: dict[str, Any] = {"model": {"variant": "gemma-3-270m", "contextLength": 1024}}
SCALED = {**SPEC, "scaling": {"minReplicas": 1, "maxReplicas": 9, "backend": "HPA"}}


def replicas(endpoint: Endpoint) -> int:
    found = endpoint.cluster.get("deployment", "assistant", "-n", endpoint.namespace)
    return int(found["spec"]["replicas"])


def scalers(endpoint: Endpoint) -> list[str]:
    items = endpoint.cluster.get("hpa", "-n", endpoint.namespace)["items"]
    return [item["metadata"]["name"] for item in items]


def await_scalers(endpoint: Endpoint, names: list[str]) -> None:
    await_value(lambda: True if scalers(endpoint) == names else None, 20, f"the HPAs {names}")


def settled(endpoint: Endpoint, spec: dict[str, Any]) -> None:
    endpoint.apply(spec)
    endpoint.wait_observed()


def test_neither_switch_resets_the_number_of_replicas(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, {**SPEC, "replicas": 3})
    settled(endpoint, SCALED)
    await_scalers(endpoint, ["assistant"])
    assert replicas(endpoint) == 3
    endpoint.kubectl("scale", "deployment/assistant", "--replicas=7")
    settled(endpoint, {**SCALED, "capacity": {"maxQueuedRequests": 9}})
    assert replicas(endpoint) == 7
    settled(endpoint, {**SPEC, "replicas": 5})
    await_scalers(endpoint, [])
    assert replicas(endpoint) == 5


def test_keda_that_is_not_installed_is_told_of(operator: OperatorProcess, endpoint: Endpoint) -> None:
    settled(endpoint, {**SPEC, "scaling": {"maxReplicas": 2, "backend": "KEDA"}})
    assert endpoint.condition("ScalingActive")["reason"] == "AdapterMissing"
    assert "Install KEDA" in endpoint.condition("ScalingActive")["message"]


@pytest.mark.parametrize(
    ("scaling", "words"),
    [
        ({"maxReplicas": 1, "minReplicas": 2}, "at least minReplicas"),
        ({"maxReplicas": 2, "minReplicas": 0, "backend": "HPA"}, "needs KEDA"),
        ({"maxReplicas": 2, "signal": "KVCacheUtilization", "target": 80}, "a share above 0"),
        ({"maxReplicas": 2, "additionalSignals": [{"signal": "WaitingRequests"}]}, "each signal once"),
    ],
)
def test_the_api_server_refuses_contradictions(
    endpoint: Endpoint, scaling: dict[str, Any], words: str
) -> None:
    with pytest.raises(DevclusterError, match=words):
        endpoint.apply({**SPEC, "scaling": scaling})


def test_the_api_server_refuses_a_number_beside_scaling(endpoint: Endpoint) -> None:
    with pytest.raises(DevclusterError, match="leave replicas out"):
        endpoint.apply({**SCALED, "replicas": 2})
