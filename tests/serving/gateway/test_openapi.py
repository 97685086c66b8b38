"""The OpenAPI document is true: requests made up from it meet documented answers only."""

import os

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from scripted import Script, ScriptedUpstream

from gemma_serving.gateway.app import make_app
from gemma_serving.gateway.openapi import document
from serving import CONFIG, config, running

EXAMPLES = int(os.environ.get("GATEWAY_API_CASES", "20"))
"""Cases of one operation and mode; 150 of them are 2,000 and more in all."""
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def door():
    with running(
        ScriptedUpstream(lambda _: Script(["Hi", " there"])), config(max_concurrent_requests=64)
    ) as served:
        yield served


API = schemathesis.openapi.from_dict(document([CONFIG.model]))
OPERATIONS = {operation.label: operation for operation in (found.ok() for found in API.get_all_operations())}


KINDS = [(label, GenerationMode.POSITIVE) for label in OPERATIONS]
# Where there is nothing to send, there is nothing to break.
KINDS += [(label, GenerationMode.NEGATIVE) for label, each in OPERATIONS.items() if each.body or each.query]
sent = 0


@pytest.mark.parametrize(
    ("label", "mode"), KINDS, ids=[f"{label} {mode.name.lower()}" for label, mode in KINDS]
)
def test_no_answer_is_undocumented_and_none_is_a_500(door, label, mode):
    """Half of the cases keep to the document, half break it."""

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def every(case):
        global sent  # noqa: PLW0603 - printed, so that the number is one that was counted
        sent += 1
        case.validate_response(case.call(base_url=door.url), checks=CHECKS)

    every()
    print(f"{sent} cases so far")


def test_every_route_is_documented(door):
    paths = httpx.get(f"{door.url}/openapi.json").json()["paths"]
    routes = {route.path.replace(":path", "") for route in make_app(door.gateway)._app.routes}
    assert routes == set(paths)
