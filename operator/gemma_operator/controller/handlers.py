"""kopf's decorators and settings, and nothing else: an event becomes a key in the queue.

Only `on.event` is used: it is level-triggered, writes nothing to the resource, and adds no finalizer.
"""

from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import Any

import kopf

from gemma_operator.api.base import GROUP, PLURAL, VERSION
from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.apiserver import CONNECT_TIMEOUT_SECONDS, REQUEST_TIMEOUT_SECONDS, Credentials
from gemma_operator.kube.informer import PAGE_OBJECTS, WATCH_SECONDS

Seen = Callable[[Manifest, bool], None]
"""Told of a GemmaDeployment as it is now, and whether it was deleted."""


def registry_for(seen: Seen, credentials: Callable[[], Awaitable[Credentials]]) -> kopf.OperatorRegistry:
    """The handlers of the operator."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await credentials()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_file,
            certificate_path=found.certificate_file,
            private_key_path=found.key_file,
            token=found.token,
            insecure=not found.verify,
            trust_env=True,
        )

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def gemma_deployment(event: kopf.RawEvent, **_: Any) -> None:
        seen(dict(event["object"]), event["type"] == "DELETED")

    return registry


def settings_for() -> kopf.OperatorSettings:
    """kopf's settings: nothing posted, nothing stored, no watch given up."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = (
        True  # kinds are known, and the CRD was waited for: no CRD or namespace is read
    )
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.networking.request_timeout = REQUEST_TIMEOUT_SECONDS
    settings.networking.connect_timeout = CONNECT_TIMEOUT_SECONDS
    settings.networking.error_backoffs = _ForEver()
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.chunk_size = PAGE_OBJECTS
    settings.queueing.idle_timeout = 0.1  # seconds until the task of a quiet object ends; 5 by default
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf copies every object to find differences from its last state; `on.event` has no use for them."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return


class _ForEver:
    """Delays between attempts of a request, in seconds: kopf's own run out, and then the operator stops."""

    def __iter__(self) -> Iterator[float]:
        return chain((0.5, 1.0, 2.0, 4.0, 8.0, 16.0), repeat(30.0))
