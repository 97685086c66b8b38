"""What the operator does to the API server, counted there."""

import json

from cluster.conftest import Installed
from cluster.endpoint import CONTINUATION, Endpoint, spec

MAX_WRITES_PER_ENDPOINT = 9
ROLE = "serving.gemma-operator.dev/role"


def test_a_new_endpoint_costs_few_writes_and_no_reads(installed: Installed, endpoint: Endpoint) -> None:
    audit = installed.audit()
    endpoint.apply(spec())
    endpoint.wait("Ready")
    children = {
        key: n for key, n in audit.writes().items() if not key[1].endswith("/status") and key[1] != "events"
    }
    assert sum(children.values()) <= MAX_WRITES_PER_ENDPOINT, children
    assert audit.gets() == {}


def test_a_restarted_operator_writes_nothing(installed: Installed, endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    installed.settle()
    audit = installed.audit()
    installed.kill_operator()
    installed.wait_resynced()
    assert audit.writes() == {}
    assert CONTINUATION in endpoint.complete()


def test_a_second_reconcile_writes_nothing(installed: Installed, endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    installed.settle()
    audit = installed.audit()
    reconciles = installed.reconciles()
    endpoint.kubectl("annotate", "gemmadeployment", "tiny", "example.com/touched=1")
    installed.wait_reconciles_above(reconciles)
    assert audit.writes() == {}


def test_a_foreign_edit_of_an_owned_field_is_put_back(endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    endpoint.kubectl(
        "patch", "service", "tiny", "--type=merge", "-p", json.dumps({"spec": {"selector": {ROLE: "x"}}})
    )
    path = f"{{.spec.selector.{ROLE.replace('.', chr(92) + '.')}}}"
    endpoint.kubectl("wait", "service/tiny", f"--for=jsonpath={path}=serving", "--timeout=60s")


def test_labels_that_others_add_survive(endpoint: Endpoint) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    endpoint.kubectl("label", "service", "tiny", "team=blue")
    body = spec()
    body["capacity"]["maxQueuedRequests"] = 7
    endpoint.apply(body)
    endpoint.wait_observed()
    service = endpoint.cluster.get("service", "tiny", "-n", endpoint.namespace)
    assert service["metadata"]["labels"]["team"] == "blue"
