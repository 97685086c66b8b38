"""Asks the autoscaler's own metric source what the autoscaler asks: KEDA's or an adapter's Prometheus."""

import asyncio
import time
from typing import Protocol

import aiohttp

from gemma_operator.kube.prometheus import Labels, Prometheus, PrometheusError, connected, worded
from gemma_operator.resources.autoscaling import Source
from gemma_operator.status.scaling import Reading

TIMEOUT_SECONDS = 3.0
"""As KEDA's own. A reconcile waits for it."""
MOST_LABEL_SETS = 3
"""Named in a message."""


class MetricSource(Protocol):
    """Where readings come from."""

    async def read(self, source: Source) -> Reading:
        """The answer to one query; failures are part of it."""


class PrometheusSource:
    """A server with Prometheus' HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def read(self, source: Source) -> Reading:
        """The answer to one query; failures are part of it."""
        try:
            async with connected(self._url, TIMEOUT_SECONDS) as client:
                return await _read(client, source)
        except PrometheusError as error:
            return Reading(source.query, source.metric, None, error=str(error))


async def _read(client: Prometheus, source: Source) -> Reading:
    chosen = ",".join(f'{name}="{value}"' for name, value in source.selector)
    series = f"{source.metric}{{{chosen}}}"
    answer, newest = await asyncio.gather(
        client.instant(source.query), client.instant(f"max(timestamp({series}))")
    )
    value = next(iter(answer.values()), None)
    if value is not None and newest:
        age = time.time() - max(newest.values())
        return Reading(source.query, source.metric, value, age_seconds=age)
    assumed = value if "vector(0)" in source.query else None
    elsewhere = await _elsewhere(client, source)
    return Reading(source.query, source.metric, assumed, elsewhere=elsewhere, is_assumed=assumed is not None)


async def _elsewhere(client: Prometheus, source: Source) -> tuple[str, ...]:
    """Label sets of the endpoint's series in another place, or else of any that lack a label.

    Series of other endpoints, which have all labels, say nothing about this one's.
    """
    model = next(value for name, value in source.selector if name == "model")
    lacking = " or ".join(f'{source.metric}{{{name}=""}}' for name, _ in source.selector)
    found = await client.instant(f'{source.metric}{{model="{model}"}}')
    found = found or await client.instant(f"topk({MOST_LABEL_SETS}, {lacking})")
    return tuple(_written(labels) for labels in list(found)[:MOST_LABEL_SETS])


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
        except TimeoutError:
            return Reading(url, name, None, error=f"no answer within {TIMEOUT_SECONDS:g} s")
        except aiohttp.ClientError as error:
            return Reading(url, name, None, error=worded(error))
        except (ValueError, KeyError) as error:
            return Reading(url, name, None, error=str(error))


def _written(labels: Labels) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels if name != "__name__") + "}"
