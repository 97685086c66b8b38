"""Routes and pools against the definitions that the Gateway API's own modules carry, on a real API server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.conftest import await_established
from gemma_devcluster import builder
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.installation import CHART
from gemma_devcluster.kubectl import Kubectl
from gemma_operator.api.manifest import Owner
from gemma_operator.resources.gatewayapi import gateway_objects
from gemma_operator.settings import parse_settings

MODULES = {
    "sigs.k8s.io/gateway-api@v1.6.0": "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    "sigs.k8s.io/gateway-api-inference-extension@v1.6.0": (
        "config/crd/bases/inference.networking.k8s.io_inferencepools.yaml"
    ),
}
"""Of these Go modules only the definitions are read; nothing of them is built or shipped."""
NAMES = ("httproutes.gateway.networking.k8s.io", "inferencepools.inference.networking.k8s.io")
SETTINGS = """
gatewayApi:
  parentRefs: [{name: public, namespace: gateways, sectionName: https}]
  hostnames: ['*.example.com']
  endpointPicker: {}
"""


@pytest.fixture(scope="module")
def definitions(control_plane: Any) -> Iterator[None]:
    paths = []
    for module, path in MODULES.items():
        command = ["go", "mod", "download", "-json", module]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, f"{module}: is the Go module proxy reachable?\n{done.stdout}"
        paths.append(str(Path(json.loads(done.stdout)["Dir"]) / path))
    files = [argument for path in paths for argument in ("-f", path)]
    control_plane.kubectl.run("apply", "--server-side", "--force-conflicts", *files)
    await_established(control_plane.kubectl, *NAMES)
    yield
    control_plane.kubectl.run("delete", *files)


def accepted(kubectl: Kubectl, manifest: dict[str, Any]) -> dict[str, Any]:
    """As the API server keeps it."""
    arguments = ("apply", "--server-side", "--validate=strict", "-f", "-", "-o", "json")
    answer: dict[str, Any] = json.loads(kubectl.run(*arguments, stdin=json.dumps(manifest)))
    return answer


@pytest.mark.parametrize("kind", ["InferencePool", "HTTPRoute"])
def test_what_the_operator_makes_is_kept_as_it_was_written(
    definitions: None, kubectl: Kubectl, namespace: str, kind: str
) -> None:
    owner = Owner("assistant", namespace, "00000000-0000-0000-0000-000000000000", 1)
    made = gateway_objects(owner, parse_settings(SETTINGS).gateway_api, lambda _: True)
    [manifest] = [each for each in made if each["kind"] == kind]
    del manifest["metadata"]["ownerReferences"]
    kept = accepted(kubectl, manifest)
    assert covers(kept["spec"], manifest["spec"])


def covers(kept: Any, written: Any) -> bool:
    """Whether everything written is there; defaults may have been added."""
    if isinstance(written, dict):
        return all(name in kept and covers(kept[name], value) for name, value in written.items())
    if isinstance(written, list):
        return len(kept) == len(written) and all(map(covers, kept, written))
    return bool(kept == written)


def test_the_front_doors_route_is_accepted(definitions: None, kubectl: Kubectl, namespace: str) -> None:
    helm, values = str(builder.ensure().path("helm")), str(CHART / "ci/front-door-values.yaml")
    command = [helm, "template", "release", str(CHART), "--namespace", namespace, "--values", values]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    [route] = [each for each in yaml.safe_load_all(text) if each and each["kind"] == "HTTPRoute"]
    assert covers(accepted(kubectl, route)["spec"], route["spec"])


def test_the_validation_above_can_fail(definitions: None, kubectl: Kubectl, namespace: str) -> None:
    pool = {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": "wrong", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "targetPorts": [{"number": 8080}]},
    }
    with pytest.raises(DevclusterError, match="port is required"):
        accepted(kubectl, {**pool, "spec": {**pool["spec"], "endpointPickerRef": {"name": "x"}}})
