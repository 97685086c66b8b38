"""What the Gateway API gets of an endpoint: golden objects, and nothing that was not asked for."""

from pathlib import Path

import pytest

from gemma_operator.api.manifest import SERVING, Manifest, Owner, selector_labels
from gemma_operator.cli.render import to_yaml
from gemma_operator.resources.gatewayapi import gateway_objects
from gemma_operator.resources.service import service
from gemma_operator.settings import SettingsError, parse_settings

GOLDEN = Path(__file__).parent / "gateway_golden"
OWNER = Owner("assistant", "team-a", "uid-1", 1)
ROUTED = "parentRefs: [{name: public, namespace: gateways, sectionName: https}], hostnames: [llm.example.com]"
PICKED = "endpointPicker: {failureMode: FailClose}"
BOTH = {"HTTPRoute", "InferencePool"}
CASES = {"service": ROUTED, "pool": f"{ROUTED}, {PICKED}"}


def objects(settings: str, served: set[str] = BOTH, owner: Owner = OWNER) -> list[Manifest]:
    parsed = parse_settings(f"gatewayApi: {{{settings}}}").gateway_api
    return list(gateway_objects(owner, parsed, served.__contains__))


def kinds(settings: str, served: set[str] = BOTH) -> set[str]:
    return {manifest["kind"] for manifest in objects(settings, served)}


@pytest.mark.parametrize("name", CASES)
def test_objects_are_golden(name: str, request: pytest.FixtureRequest) -> None:
    rendered, path = to_yaml(objects(CASES[name])), GOLDEN / f"{name}.yaml"
    if request.config.getoption("--update-golden", default=False):
        path.write_text(rendered)
    assert rendered == path.read_text(), "run pytest with --update-golden and review the diff"


def test_nothing_is_published_that_nobody_asked_for() -> None:
    assert kinds("") == set()
    assert kinds(PICKED) == {"InferencePool"}
    assert kinds(ROUTED) == {"HTTPRoute"}


def test_only_what_the_cluster_serves_is_made_and_a_route_never_leads_to_a_pool_that_is_not() -> None:
    assert kinds(CASES["pool"], set()) == set()
    [route] = objects(CASES["pool"], {"HTTPRoute"})
    assert route["spec"]["rules"][0]["backendRefs"] == [
        {"kind": "Service", "name": "assistant", "port": service(OWNER)["spec"]["ports"][0]["port"]}
    ]


def test_a_pool_selects_the_pods_that_the_service_selects() -> None:
    pool, route = objects(CASES["pool"])
    assert pool["spec"]["selector"]["matchLabels"] == selector_labels(OWNER, SERVING)
    assert route["spec"]["rules"][0]["backendRefs"][0]["name"] == pool["metadata"]["name"]


def test_equal_names_of_two_namespaces_have_paths_of_their_own() -> None:
    other = Owner("assistant", "team-b", "uid-2", 1)
    paths = {
        objects(ROUTED, owner=owner)[0]["spec"]["rules"][0]["matches"][0]["path"]["value"]
        for owner in (OWNER, other)
    }
    assert paths == {"/team-a/assistant", "/team-b/assistant"}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ("parentRefs: [{namespace: gateways}]", r"parentRefs\.0\.name"),
        ("hostnames: ['https://x']", r"hostnames\.0"),
        ("endpointPicker: {port: 0}", r"endpointPicker\.port"),
    ],
)
def test_settings_that_no_gateway_takes_are_refused(settings: str, field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        objects(settings)
