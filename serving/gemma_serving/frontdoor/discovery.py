"""Which endpoints there are, and which of their pods take requests: from the Kubernetes API, followed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from gemma_serving.frontdoor.fleet import Endpoint, EndpointState

log = logging.getLogger(__name__)

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts the token and the API server's authority."""
GROUP = "serving.gemma-operator.dev"
OWNER_LABEL = f"{GROUP}/deployment"
WATCH_SECONDS = 300
RETRY_SECONDS = 1.0
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Collection:
    """A kind to follow."""

    path: str
    plural: str
    selector: str = ""

    def url(self, namespace: str | None) -> str:
        """Of all namespaces, or of one."""
        inside = "" if namespace is None else f"/namespaces/{namespace}"
        return f"{self.path}{inside}/{self.plural}"


DEPLOYMENTS = Collection(f"/apis/{GROUP}/v1alpha1", "gemmadeployments")
SLICES = Collection("/apis/discovery.k8s.io/v1", "endpointslices", f"{GROUP}/role=serving")


@dataclass(slots=True)
class Seen:
    """Objects by namespace and name."""

    deployments: dict[tuple[str, str], Object] = field(default_factory=dict)
    slices: dict[tuple[str, str], Object] = field(default_factory=dict)

    def states(self) -> dict[Endpoint, EndpointState]:
        """What they come to."""
        addresses: dict[Endpoint, set[str]] = {}
        for (namespace, _), found in self.slices.items():
            owner = (found["metadata"].get("labels") or {}).get(OWNER_LABEL)
            if owner is not None:
                addresses.setdefault(Endpoint(namespace, owner), set()).update(ready_addresses(found))
        return {
            Endpoint(*key): _state(found, addresses.get(Endpoint(*key), set()))
            for key, found in self.deployments.items()
        }


def ready_addresses(found: Object) -> set[str]:
    """`host:port` of what an EndpointSlice says takes requests."""
    ports = [port["port"] for port in found.get("ports") or () if port.get("name") == "http"]
    return {
        f"{address}:{port}"
        for endpoint in found.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready")
        for address in endpoint["addresses"]
        for port in ports
    }


def _state(found: Object, addresses: set[str]) -> EndpointState:
    spec = found.get("spec") or {}
    scaling, access = spec.get("scaling") or {}, spec.get("access") or {}
    least = [
        scaling.get("minReplicas", 1),
        *(s.get("minReplicas", 1) for s in scaling.get("schedules") or ()),
    ]
    asks = access.get("apiKeysSecretRef") is not None and access.get("requireKey", True)
    return EndpointState(frozenset(addresses), min(least) == 0, asks)


class Discovery:
    """Follows both kinds and tells of every change."""

    def __init__(
        self,
        namespaces: list[str],
        changed: Callable[[Mapping[Endpoint, EndpointState]], None],
        account: Path = ACCOUNT,
    ) -> None:
        self._places: list[str | None] = list(namespaces) or [None]
        self._changed = changed
        self._account = account
        self._seen = Seen()
        self._listed: set[tuple[str, str | None]] = set()
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        self._client = httpx2.AsyncClient(
            base_url=f"https://{host}:{port}",
            verify=ssl.create_default_context(cafile=str(account / "ca.crt")),
            timeout=httpx2.Timeout(10.0, read=WATCH_SECONDS + 30),
            trust_env=False,
        )

    async def run(self) -> None:
        """Until cancelled. What was known stays in force while the API server is away."""
        async with asyncio.TaskGroup() as group:
            for place in self._places:
                group.create_task(self._follow(DEPLOYMENTS, place, self._seen.deployments))
                group.create_task(self._follow(SLICES, place, self._seen.slices))

    async def _follow(
        self, kind: Collection, place: str | None, objects: dict[tuple[str, str], Object]
    ) -> None:
        while True:
            try:
                version = await self._list(kind, place, objects)
                await self._watch(kind, place, objects, version)
            except (httpx2.HTTPError, ValueError, KeyError) as error:
                log.warning("cannot follow %s: %r", kind.plural, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _list(self, kind: Collection, place: str | None, objects: dict[tuple[str, str], Object]) -> str:
        answer = await self._client.get(
            kind.url(place), params={"labelSelector": kind.selector}, headers=self._authorization()
        )
        page = answer.raise_for_status().json()
        found = {_key(item): item for item in page["items"]}
        for key in [key for key in objects if place in (None, key[0]) and key not in found]:
            del objects[key]
        objects.update(found)
        self._listed.add((kind.plural, place))
        self._tell()
        return str(page["metadata"]["resourceVersion"])

    async def _watch(
        self, kind: Collection, place: str | None, objects: dict[tuple[str, str], Object], version: str
    ) -> None:
        params = {
            "labelSelector": kind.selector,
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with self._client.stream(
            "GET", kind.url(place), params=params, headers=self._authorization()
        ) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return  # too old: list again
                if event["type"] == "DELETED":
                    objects.pop(_key(event["object"]), None)
                elif event["type"] != "BOOKMARK":
                    objects[_key(event["object"])] = event["object"]
                self._tell()

    def _tell(self) -> None:
        """Not before both kinds are known everywhere: endpoints without slices would look asleep."""
        if len(self._listed) == 2 * len(self._places):
            self._changed(self._seen.states())

    def _authorization(self) -> dict[str, str]:
        """The kubelet renews the token: read each time."""
        return {"authorization": f"Bearer {(self._account / 'token').read_text().strip()}"}


def _key(item: Object) -> tuple[str, str]:
    metadata = item["metadata"]
    return str(metadata["namespace"]), str(metadata["name"])
