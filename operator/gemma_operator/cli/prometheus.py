"""The client of Prometheus as the commands use it: one question at a time, and errors that say what to do."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from gemma_operator.cli.documents import InputError
from gemma_operator.kube.prometheus import Labels, PrometheusError, Series, connected
from gemma_operator.kube.prometheus import Prometheus as Client

__all__ = ["Labels", "Prometheus", "Series"]

TIMEOUT_SECONDS = 30.0

Answer = TypeVar("Answer")


class Prometheus:
    """A query API at `url`, such as `http://localhost:9090`."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self._url = url
        self._token_file = token_file

    def instant(self, expr: str, at: float | None = None) -> dict[Labels, float]:
        """Value per series now, or at a Unix time; NaN is left out. Raises InputError."""
        values = self._answered(lambda client: client.instant(expr, at))
        return {labels: value for labels, value in values.items() if not math.isnan(value)}

    def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Series between two Unix times; NaN is left out. Raises InputError."""
        return self._answered(lambda client: client.range(expr, start, end, step))

    def _answered(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
        async def ask() -> Answer:
            async with connected(self._url, TIMEOUT_SECONDS, self._token_file) as client:
                return await question(client)

        try:
            return asyncio.run(ask())
        except OSError as error:
            raise InputError(f"the token cannot be read: {error}") from error
        except PrometheusError as error:
            if error.status is not None:
                raise InputError(f"{self._url} answered {error.status}: {error}") from error
            raise InputError(
                f"no Prometheus answers at {self._url} ({error}); to reach one in a cluster, run "
                "`kubectl -n NAMESPACE port-forward svc/PROMETHEUS 9090` and use http://localhost:9090"
            ) from error
