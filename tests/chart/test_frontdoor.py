"""The front door: there when asked for, known to the operator, and allowed no more than it reads."""

from typing import Any

import pytest

from chart.conftest import CHART, Render
from gemma_operator.api.manifest import ROLE_LABEL, SERVING
from gemma_operator.resources.layout import API_PORT
from gemma_operator.settings import parse_settings
from gemma_serving.frontdoor.config import FrontDoorConfig

pytestmark = pytest.mark.cluster

ON = ("-f", str(CHART / "ci" / "front-door-values.yaml"))
NAME = "release-gemma-operator-front-door"


def named(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == NAME]
    return found


def test_it_is_left_out_by_default(render: Render) -> None:
    assert NAME not in {document["metadata"]["name"] for document in render()}


def test_the_operator_is_told_where_it_is(render: Render) -> None:
    settings = next(d for d in render(*ON) if "settings.yaml" in d.get("data", {}))
    scaling = parse_settings(settings["data"]["settings.yaml"]).scaling
    service = named(render(*ON), "Service")
    assert scaling.front_door_url == f"http://{NAME}.gemma-system.svc:9090"
    assert 9090 in {port["port"] for port in service["spec"]["ports"]}
    assert scaling.prometheus_url is not None


def test_its_configuration_is_one_that_it_reads(render: Render) -> None:
    config = FrontDoorConfig.from_json(named(render(*ON), "ConfigMap")["data"]["front-door.json"])
    assert [backend.weight for backend in config.routes[0].backends] == [95, 5]


def test_it_may_read_endpoints_and_their_addresses_and_nothing_else(render: Render) -> None:
    rules = named(render(*ON), "ClusterRole")["rules"]
    granted = {(r, verb) for rule in rules for r in rule["resources"] for verb in rule["verbs"]}
    assert granted == {
        (r, verb) for r in ("gemmadeployments", "endpointslices") for verb in ("list", "watch")
    }


def test_two_pods_stay_while_one_goes_and_both_meet_pod_security_restricted(render: Render) -> None:
    deployment = named(render(*ON), "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_gateway_gets_a_route_without_a_limit_of_its_own(render: Render) -> None:
    rule = named(render(*ON), "HTTPRoute")["spec"]["rules"][0]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


@pytest.mark.parametrize(
    ("served", "kind", "endpoints"),
    [
        ("monitoring.coreos.com/v1/PodMonitor", "PodMonitor", "podMetricsEndpoints"),
        ("monitoring.googleapis.com/v1/ClusterPodMonitoring", "PodMonitoring", "endpoints"),
    ],
)
def test_its_counts_are_scraped_by_what_the_cluster_has(
    render: Render, served: str, kind: str, endpoints: str
) -> None:
    documents = render(*ON, "--api-versions", served)
    monitor = named(documents, kind)["spec"]
    pod = named(documents, "Deployment")["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert monitor["selector"]["matchLabels"] == named(documents, "Service")["spec"]["selector"]
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert [endpoint["port"] for endpoint in monitor[endpoints]] == ["admin"]
    assert "admin" in ports


def test_the_operator_may_reach_it(render: Render) -> None:
    policy = next(d for d in render(*ON) if d["kind"] == "NetworkPolicy")
    anywhere = [rule["ports"] for rule in policy["spec"]["egress"] if "to" not in rule]
    assert [{"port": 9090, "protocol": "TCP"}] in anywhere


def test_a_default_deny_leaves_it_its_callers_and_its_pods_and_nothing_else(render: Render) -> None:
    policy = named(render(*ON), "NetworkPolicy")["spec"]
    service = named(render(*ON), "Service")["spec"]
    assert policy["podSelector"]["matchLabels"] == service["selector"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    entered = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert entered == {port["targetPort"] for port in service["ports"]}
    (pods,) = [rule for rule in policy["egress"] if "to" in rule]
    assert pods["to"][0]["podSelector"]["matchLabels"] == {ROLE_LABEL: SERVING}
    assert [port["port"] for port in pods["ports"]] == [API_PORT]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 6443, API_PORT}


def test_a_slow_start_is_not_taken_for_a_dead_process(render: Render) -> None:
    (container,) = named(render(*ON), "Deployment")["spec"]["template"]["spec"]["containers"]
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["httpGet"] == liveness["httpGet"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
