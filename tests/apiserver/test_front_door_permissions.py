"""The front door follows the fleet with exactly the chart's role, and uses all of it."""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from apiserver.conftest import SYSTEM_NAMESPACE
from apiserver.operator_process import CHANGE_SECONDS
from apiserver.permissions import account_of, granted, grants, refused, used
from cluster.endpoint import Endpoint
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value
from gemma_serving.frontdoor.discovery import Discovery
from gemma_serving.frontdoor.fleet import Endpoint as FleetMember
from gemma_serving.frontdoor.fleet import EndpointState

SPEC: dict[str, Any] = {"model": {"variant": "gemma-3-270m"}}
Fleet = set[tuple[str, str]]
"""(namespace, name) of the endpoints that the front door knows."""


@pytest.fixture(params=["cluster-wide", "namespaced"])
def watched(request: pytest.FixtureRequest, namespace: str) -> list[str]:
    """Namespaces that the chart is told to watch; none: all."""
    return [namespace] if request.param == "namespaced" else []


@pytest.fixture
def documents(kubectl: Kubectl, watched: list[str]) -> Iterator[list[dict[str, Any]]]:
    """The chart's grants, applied; gone again after the test."""
    release = "namespaced" if watched else "cluster-wide"
    rendered = grants(release, watched, "front-door", frontDoor={"enabled": True})
    kubectl.apply(rendered)
    yield rendered
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered})
    kubectl.run("delete", "--ignore-not-found", "-f", "-", stdin=content)


@pytest.fixture
def mounted(
    control_plane: Cluster,
    documents: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """What the kubelet gives a pod: the API server in the environment; returns the folder of its account."""
    cluster = yaml.safe_load(control_plane.kubeconfig().read_text())["clusters"][0]["cluster"]
    token = control_plane.kubectl.run("create", "token", account_of(documents), "-n", SYSTEM_NAMESPACE)
    (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    server = urlsplit(cluster["server"])
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    return tmp_path


async def follow(watched: list[str], account: Path, endpoint: Endpoint) -> None:
    """Follow the fleet until an endpoint is in it that came, and gone again, while it was followed."""
    known: asyncio.Queue[Fleet] = asyncio.Queue()

    def tell(states: Mapping[FleetMember, EndpointState]) -> None:
        known.put_nowait({(each.namespace, each.name) for each in states})

    followed = Discovery(watched, tell, account)
    task = asyncio.create_task(followed.run())
    key = (endpoint.namespace, endpoint.name)
    try:
        async with asyncio.timeout(CHANGE_SECONDS):
            assert key not in await known.get()
            await asyncio.to_thread(endpoint.apply, SPEC)
            while key not in await known.get():
                pass
            await asyncio.to_thread(endpoint.kubectl, "delete", "gemmadeployment", endpoint.name)
            while key in await known.get():
                pass
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_front_door_uses_all_that_it_is_granted_and_asks_for_no_more(
    control_plane: Cluster,
    documents: list[dict[str, Any]],
    watched: list[str],
    mounted: Path,
    endpoint: Endpoint,
) -> None:
    asyncio.run(follow(watched, mounted, endpoint))
    log = control_plane.layout.audit_log
    user = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account_of(documents)}"
    await_value(lambda: used(log, user) == granted(documents) or None, CHANGE_SECONDS, "its watches to end")
    assert refused(log, user) == []
