"""How a fetch gets out of a cluster that has a proxy and authorities of its own; nothing else does."""

from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.resources.desired import desired_objects
from gemma_operator.settings import SettingsError, parse_settings
from support.plans import CPU_PLAN, OWNER, spec_of

BEHIND_A_PROXY = """
egress:
  proxy: http://proxy.example:3128
  noProxy: hub.internal.example
  caBundle: {configMap: company-ca, key: bundle.pem}
"""


def rendered(text: str = BEHIND_A_PROXY, **fields: Any) -> tuple[Manifest, ...]:
    return desired_objects(OWNER, spec_of(**fields), CPU_PLAN, parse_settings(text))


def one(objects: tuple[Manifest, ...], kind: str, suffix: str = "") -> Manifest:
    [found] = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    return found


def pods_of(objects: tuple[Manifest, ...]) -> dict[str, Manifest]:
    return {o["kind"]: o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "Job")}


def containers(pod: Manifest) -> dict[str, Manifest]:
    return {c["name"]: c for c in [*pod.get("initContainers", ()), *pod["containers"]]}


@pytest.mark.parametrize(("fields", "kind"), [({}, "Deployment"), ({"cache": {}}, "Job")])
def test_whatever_fetches_goes_through_the_proxy_and_trusts_the_bundle(
    fields: dict[str, Any], kind: str
) -> None:
    pod = pods_of(rendered(**fields))[kind]
    fetching = containers(pod)["weights"]
    environment = {variable["name"]: variable.get("value") for variable in fetching["env"]}
    assert environment["HTTPS_PROXY"] == environment["HTTP_PROXY"] == "http://proxy.example:3128"
    assert environment["NO_PROXY"] == "hub.internal.example"
    [folder] = [m["mountPath"] for m in fetching["volumeMounts"] if m["name"] == "ca-bundle"]
    assert environment["SSL_CERT_FILE"] == f"{folder}/bundle.pem"
    assert {"name": "ca-bundle", "configMap": {"name": "company-ca"}} in pod["volumes"]


@pytest.mark.parametrize("fields", [{}, {"cache": {}}])
def test_nothing_else_hears_of_the_proxy(fields: dict[str, Any]) -> None:
    for pod in pods_of(rendered(**fields)).values():
        others = [container for name, container in containers(pod).items() if name != "weights"]
        assert "proxy.example" not in str(others)


def test_pods_of_a_cached_endpoint_need_no_bundle() -> None:
    assert "company-ca" not in str(pods_of(rendered(cache={}))["Deployment"])


def test_the_policy_opens_the_proxys_port_and_the_hubs_only_where_something_goes_without_it() -> None:
    def ports(text: str) -> list[int]:
        policy = one(rendered(text, cache={}), "NetworkPolicy", "-weights")
        return [port["port"] for port in policy["spec"]["egress"][-1]["ports"]]

    assert ports("") == [443]
    assert ports("egress: {proxy: 'http://proxy.example:3128'}") == [3128]
    assert ports(BEHIND_A_PROXY) == [443, 3128]


def test_a_proxy_with_a_password_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"egress\.proxy"):
        parse_settings("egress: {proxy: 'http://user:secret@proxy.example:3128'}")
