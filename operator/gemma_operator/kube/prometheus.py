"""A client of Prometheus' query API, or of anything that speaks it (Thanos, Mimir, Google's frontend)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

Labels = tuple[tuple[str, str], ...]
"""Sorted pairs: a series' identity."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series over time; `times` are Unix seconds."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


class PrometheusError(Exception):
    """There is no answer, or one that refuses; the words are the server's where it had any."""

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.status = status
        """HTTP status of a refusal; None without an answer."""


class Prometheus:
    """A query API that a session reaches; `connected` makes one."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._session = session

    async def instant(self, expr: str, at: float | None = None) -> dict[Labels, float]:
        """Value per series now, or at a Unix time; may be NaN. Raises PrometheusError."""
        result = await self._ask("query", {"query": expr} | ({} if at is None else {"time": f"{at:.3f}"}))
        return {tuple(sorted(item["metric"].items())): float(item["value"][1]) for item in result}

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Series between two Unix times; NaN is left out. Raises PrometheusError."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return [_series(item) for item in await self._ask("query_range", {"query": expr, **times})]

    async def _ask(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        # GET, as KEDA and prometheus-adapter ask: what lets them through lets this through.
        try:
            async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
                if answer.status != 200:
                    raise PrometheusError(await _refusal(answer), answer.status)
                document = await answer.json(content_type=None)
            result: list[dict[str, Any]] = document["data"]["result"]
        except TimeoutError as error:
            raise PrometheusError(f"no answer within {self._session.timeout.total:g} s") from error
        except aiohttp.ClientError as error:
            raise PrometheusError(worded(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise PrometheusError(f"its answer is none of Prometheus' API: {error}") from error
        return result


@asynccontextmanager
async def connected(
    url: str, timeout_seconds: float, token_file: Path | None = None
) -> AsyncIterator[Prometheus]:
    """The query API at `url`, such as `http://localhost:9090`. Raises OSError: the token cannot be read."""
    headers = {}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {token_file.read_text().strip()}"
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        yield Prometheus(url, session)


def worded(error: aiohttp.ClientError) -> str:
    """What went wrong; the client's own words speak of TLS where there is none."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({error.os_error})"
    return str(error)


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    """Prometheus' own words where it gave some."""
    try:
        return str((await answer.json(content_type=None))["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status} {answer.reason}"


def _series(item: Mapping[str, Any]) -> Series:
    points = [(float(at), float(value)) for at, value in item["values"] if value != "NaN"]
    return Series(item["metric"], tuple(at for at, _ in points), tuple(value for _, value in points))
