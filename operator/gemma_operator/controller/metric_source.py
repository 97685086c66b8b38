"""Asks the autoscaler's own metric source what the autoscaler asks: KEDA's or an adapter's Prometheus."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp

from gemma_operator.resources.autoscaling import Source
from gemma_operator.status.scaling import Reading

TIMEOUT_SECONDS = 3.0
"""As KEDA's own. A reconcile waits for it."""
MOST_LABEL_SETS = 3
"""Named in a message."""

Labels = Mapping[str, str]


class MetricSource(Protocol):
    """Where readings come from."""

    async def read(self, source: Source) -> Reading:
        """The answer to one query; failures are part of it."""


class Prometheus:
    """A server with Prometheus' HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def read(self, source: Source) -> Reading:
        """The answer to one query; failures are part of it."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                return await self._read(session, source)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            return Reading(source.query, source.metric, None, error=_worded(error))

    async def _read(self, session: aiohttp.ClientSession, source: Source) -> Reading:
        chosen = ",".join(f'{name}="{value}"' for name, value in source.selector)
        series = f"{source.metric}{{{chosen}}}"
        answer, newest = await asyncio.gather(
            self._query(session, source.query), self._query(session, f"max(timestamp({series}))")
        )
        value = float(answer[0]["value"][1]) if answer else None
        age = time.time() - float(newest[0]["value"][1]) if newest else None
        if value is not None and newest:
            return Reading(source.query, source.metric, value, age_seconds=age)
        assumed = value if "vector(0)" in source.query else None
        elsewhere = await self._elsewhere(session, source)
        return Reading(
            source.query, source.metric, assumed, elsewhere=elsewhere, is_assumed=assumed is not None
        )

    async def _elsewhere(self, session: aiohttp.ClientSession, source: Source) -> tuple[str, ...]:
        """Label sets of the endpoint's series in another place, or else of any that lack a label.

        Series of other endpoints, which have all labels, say nothing about this one's.
        """
        model = next(value for name, value in source.selector if name == "model")
        lacking = " or ".join(f'{source.metric}{{{name}=""}}' for name, _ in source.selector)
        found = await self._query(session, f'{source.metric}{{model="{model}"}}')
        found = found or await self._query(session, f"topk({MOST_LABEL_SETS}, {lacking})")
        return tuple(_written(each["metric"]) for each in found[:MOST_LABEL_SETS])

    async def _query(self, session: aiohttp.ClientSession, query: str) -> list[dict[str, Any]]:
        async with session.get(f"{self._url}/api/v1/query", params={"query": query}) as response:
            document = await response.json(content_type=None)
            if response.status != 200:
                raise ValueError(str(document.get("error", f"HTTP {response.status}")))
        result = document["data"]["result"]
        return result if isinstance(result, list) else []


class FrontDoor:
    """The front door's own counts, as KEDA's metrics-api trigger reads them."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def read(self, source: Source) -> Reading:
        """The answer to one query; failures are part of it."""
        labels = dict(source.selector)
        namespace = labels.get("namespace") or labels.get("endpoint_namespace")
        url = f"{self._url}/scaling/{namespace}/{labels['model']}"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        name = source.name.removeprefix("door_")
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                if response.status != 200:
                    raise ValueError(f"HTTP {response.status}")
                document = await response.json(content_type=None)
                return Reading(url, name, float(document[name]))
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            return Reading(url, name, None, error=_worded(error))


def _written(labels: Labels) -> str:
    shown = sorted((name, value) for name, value in labels.items() if name != "__name__")
    return "{" + ", ".join(f'{name}="{value}"' for name, value in shown) + "}"


def _worded(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({error.os_error})"  # its own words speak of TLS where there is none
    return f"no answer within {TIMEOUT_SECONDS:g} s" if isinstance(error, TimeoutError) else str(error)
