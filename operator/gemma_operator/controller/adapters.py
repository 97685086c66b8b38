"""Asks pods which LoRA adapters they have: until they have all, and again when one may have lost some."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gemma_operator.api.manifest import Manifest, ObjectKey
from gemma_operator.api.v1alpha1 import AdapterStateName
from gemma_operator.resources.layout import ADMIN_PORT
from gemma_operator.status.adapters import PodAdapters, read_adapters, unreachable

LOADING_SECONDS = 10.0
"""Between two looks at a pod that is about to load; the kubelet brings it the news within about a minute."""
TROUBLE_SECONDS = 60.0
"""The same for one that failed, or cannot be asked: it tries again by itself every 30 s."""
TIMEOUT_SECONDS = 3.0
"""A reconcile waits for it."""

Ask = Callable[[str], Awaitable[Any]]
"""The JSON document at a URL. Raises aiohttp.ClientError, TimeoutError or ValueError."""


async def ask_over_http(url: str) -> Any:
    """The JSON document at a URL."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        return await response.json(content_type=None)


@dataclass(frozen=True, slots=True)
class _Look:
    asked_for: tuple[Any, ...]
    """What was wanted, and of which start of the containers: another answer may come for another one."""
    at: float
    said: PodAdapters

    @property
    def good_for_seconds(self) -> float | None:
        """None: until something changes."""
        if self.said.states <= {AdapterStateName.LOADED}:
            return None
        if AdapterStateName.LOADING in self.said.states:
            return LOADING_SECONDS
        return TROUBLE_SECONDS


@dataclass(slots=True)
class AdapterLooks:
    """What pods said, by endpoint and pod."""

    ask: Ask = ask_over_http
    clock: Callable[[], float] = time.monotonic
    _looks: dict[ObjectKey, dict[str, _Look]] = field(default_factory=dict)

    async def look(
        self, key: ObjectKey, wanted: Mapping[str, str], pods: Sequence[Manifest]
    ) -> tuple[PodAdapters, ...]:
        """What each pod says of the wanted adapters (name to path); nobody is asked where none is wanted."""
        if not wanted:
            self.forget(key)
            return ()
        known = self._looks.get(key, {})
        looks = await asyncio.gather(
            *(self._look(known.get(pod["metadata"]["uid"]), wanted, pod) for pod in pods)
        )
        self._looks[key] = {pod["metadata"]["uid"]: look for pod, look in zip(pods, looks, strict=True)}
        return tuple(look.said for look in looks)

    def again_in_seconds(self, key: ObjectKey) -> float | None:
        """When asking again may bring something new; None where nothing is open."""
        spans = (look.good_for_seconds for look in self._looks.get(key, {}).values())
        return min((span for span in spans if span is not None), default=None)

    def forget(self, key: ObjectKey) -> None:
        """The endpoint is gone, or has no adapters."""
        self._looks.pop(key, None)

    async def _look(self, known: _Look | None, wanted: Mapping[str, str], pod: Manifest) -> _Look:
        asked_for = (tuple(wanted.items()), _starts(pod))
        if known is not None and known.asked_for == asked_for:
            span = known.good_for_seconds
            if span is None or self.clock() - known.at < span:
                return known
        return _Look(asked_for, self.clock(), await self._said(wanted, pod))

    async def _said(self, wanted: Mapping[str, str], pod: Manifest) -> PodAdapters:
        name, address = pod["metadata"]["name"], (pod.get("status") or {}).get("podIP", "")
        host = f"[{address}]" if ":" in address else address
        try:
            document = await self.ask(f"http://{host}:{ADMIN_PORT}/health")
            return PodAdapters(name, read_adapters(wanted, document))
        except (aiohttp.ClientError, TimeoutError) as error:
            return PodAdapters(name, unreachable(wanted, str(error) or f"no answer in {TIMEOUT_SECONDS:g} s"))
        except (LookupError, TypeError, ValueError):
            return PodAdapters(name, unreachable(wanted, "its gateway, of another version, does not tell"))


def _starts(pod: Manifest) -> int:
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(container.get("restartCount", 0) for container in containers)
