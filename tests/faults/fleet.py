"""A fleet of GemmaDeployments that live the same life, each under its own faults."""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from apiserver.conftest import ACCOUNT, SYSTEM_NAMESPACE
from apiserver.operator_process import OperatorProcess, kubeconfig_for
from faults.proxy import FaultProxy
from gemma_devcluster.cluster import Cluster
from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import MANAGER, OWNER_LABEL, Manifest
from gemma_operator.kube.apiserver import APPLY_PATCH, ApiServer, Request
from gemma_operator.kube.errors import NotFoundError
from gemma_operator.kube.kinds import CHILD_KINDS, GEMMA_DEPLOYMENT

SMALL: Manifest = {"model": {"variant": "gemma-3-270m", "contextLength": 1024}}
LARGER: Manifest = {**SMALL, "model": {"variant": "gemma-3-270m", "contextLength": 2048}, "replicas": 2}
UNFITTABLE: Manifest = {**LARGER, "model": {"variant": "gemma-3-270m", "contextLength": 1048576}}
LIFE = (SMALL, LARGER, UNFITTABLE, SMALL)
"""Created, edited, edited badly, and brought back: the same as made afresh."""

STAGE_SECONDS = 20.0
"""How long an edit waits for the ones before it; those under faults may be late, and then edits meet."""
END_SECONDS = 180.0
_CHANGING = re.compile(r'"(uid|resourceVersion|creationTimestamp|lastTransitionTime|clusterIP)": "[^"]*"')
_HASH = re.compile(r'"serving\.gemma-operator\.dev/[a-z-]*hash": "[0-9a-f]+"')

State = dict[str, str]
"""`Kind/NAME` to normalised JSON, of one GemmaDeployment and its children."""


class Fleet:
    """The operator behind the proxy, and the GemmaDeployments of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self._cluster = cluster
        self._folder = folder
        self._api: ApiServer | None = None
        self.proxy: FaultProxy
        self.operator: OperatorProcess

    async def __aenter__(self) -> "Fleet":
        configuration = Configuration()
        await load_kube_config(
            config_file=str(self._cluster.kubeconfig()),
            client_configuration=configuration,
            persist_config=False,
        )
        self._api = ApiServer(configuration, lambda request, code: None)
        token = self._cluster.kubectl.run(
            "create", "token", ACCOUNT, "-n", SYSTEM_NAMESPACE, "--duration=24h"
        )
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        self.proxy = FaultProxy(configuration.host, tls, self._kill)
        url = await self.proxy.start()
        kubeconfig = self._folder / "kubeconfig"
        kubeconfig.write_text(kubeconfig_for(self._cluster.kubeconfig(), token.strip(), url))
        self.operator = OperatorProcess(kubeconfig, self._folder, {"watchNamespaces": [self.namespace]})
        self.operator.start(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.operator.kill()
        await self.proxy.stop()
        if self._api is not None:
            await self._api.close()

    async def apply(self, name: str, spec: Manifest) -> None:
        """As a user would."""
        metadata = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        query = {"fieldManager": "user", "force": "true"}
        await self._send(
            Request("PATCH", GEMMA_DEPLOYMENT.path(self.namespace, name), query, body, APPLY_PATCH)
        )

    async def delete(self, name: str) -> None:
        """As a user would."""
        with suppress(NotFoundError):
            await self._send(Request("DELETE", GEMMA_DEPLOYMENT.path(self.namespace, name)))

    async def live(self, names: list[str]) -> None:
        """The whole LIFE, all together."""
        for spec in LIFE:
            await asyncio.gather(*(self.apply(name, spec) for name in names))
            await self._until(lambda found: all(_is_answered(item) for item in found), STAGE_SECONDS)

    async def states(self) -> dict[str, State]:
        """What there is for each name."""
        kinds = (GEMMA_DEPLOYMENT, *(kind for kind in CHILD_KINDS if not kind.optional))
        states: dict[str, State] = {}
        for kind in kinds:
            selector = (
                {}
                if kind is GEMMA_DEPLOYMENT
                else {"labelSelector": f"app.kubernetes.io/managed-by={MANAGER}"}
            )
            page = await self._send(Request("GET", kind.path(self.namespace), selector))
            for item in page["items"]:
                name = item["metadata"]["name"]
                owner = name if kind is GEMMA_DEPLOYMENT else item["metadata"]["labels"][OWNER_LABEL]
                states.setdefault(owner, {})[f"{kind.name}/{name.replace(owner, 'NAME')}"] = _normal(
                    item, owner
                )
        return states

    async def seen(self, name: str) -> str:
        """What its Deployment and pods say themselves, for a report of a failure."""
        objects = ("get", "deployments,replicasets,pods", "-n", self.namespace, "-l", f"{OWNER_LABEL}={name}")
        items = json.loads(self._cluster.kubectl.run(*objects, "-o", "json"))["items"]
        kept = [
            {
                "kind": item["kind"],
                "metadata": {key: item["metadata"].get(key) for key in ("name", "generation", "annotations")},
                "replicas": item["spec"].get("replicas"),
                "strategy": item["spec"].get("strategy"),
                "status": item.get("status"),
            }
            for item in items
        ]
        return json.dumps(kept)

    async def until(self, is_so: Callable[[dict[str, State]], bool]) -> dict[str, State]:
        """Wait for the states to be so; returns them in any case."""
        deadline = time.monotonic() + END_SECONDS
        while not is_so(states := await self.states()) and time.monotonic() < deadline:
            await asyncio.sleep(1.0)
        return states

    async def _until(self, is_so: Callable[[list[Manifest]], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            page = await self._send(Request("GET", GEMMA_DEPLOYMENT.path(self.namespace)))
            if is_so(page["items"]):
                return
            await asyncio.sleep(0.5)

    async def _send(self, request: Request) -> Manifest:
        assert self._api is not None
        return await self._api.send(request)

    async def _kill(self) -> None:
        """SIGKILL and a new process, as the kubelet would."""
        self.operator.kill()
        self.operator.start(wait=False)


def _is_answered(resource: Manifest) -> bool:
    return bool(
        (resource.get("status") or {}).get("observedGeneration") == resource["metadata"]["generation"]
    )


def _normal(item: Any, owner: str) -> str:
    """Without what differs between equals: names, times, uids, addresses, and what others wrote."""
    metadata = {
        name: item["metadata"][name]
        for name in ("labels", "annotations", "ownerReferences")
        if name in item["metadata"]
    }
    metadata.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    # The pace of the last rollout tells how it went, and not where it ended.
    spec = {name: value for name, value in (item.get("spec") or {}).items() if name != "strategy"}
    kept = {"metadata": metadata, "spec": spec, "data": item.get("data")}
    if "conditions" in (item.get("status") or {}) and "model" in (item.get("spec") or {}):
        kept["conditions"] = [
            {name: value for name, value in condition.items() if name != "observedGeneration"}
            for condition in item["status"]["conditions"]
        ]
    text = json.dumps(kept, sort_keys=True).replace(owner, "NAME")
    text = re.sub(r'"clusterIPs": \["[^"]*"\]', '"clusterIPs": []', text)
    text = re.sub(r"0/\d+ nodes are available[^\"]*", "no node", text)
    return _HASH.sub('"hash": ""', _CHANGING.sub(r'"\1": ""', text))
