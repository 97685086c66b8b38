"""Asks a Prometheus, or anything that speaks its query API (Thanos, Mimir, Google's frontend)."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_operator.cli.documents import InputError

TIMEOUT_SECONDS = 30

Labels = tuple[tuple[str, str], ...]
"""Sorted pairs: a series' identity."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series over time; `times` are Unix seconds."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


class Prometheus:
    """A query API at `url`, such as `http://localhost:9090`."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file

    def instant(self, expr: str, at: float | None = None) -> dict[Labels, float]:
        """Value per series now, or at a Unix time; NaN is left out. Raises InputError."""
        result = self._ask("query", {"query": expr} | ({} if at is None else {"time": f"{at:.3f}"}))
        values = {tuple(sorted(item["metric"].items())): float(item["value"][1]) for item in result}
        return {labels: value for labels, value in values.items() if not math.isnan(value)}

    def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Series between two Unix times; NaN is left out. Raises InputError."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return [_series(item) for item in self._ask("query_range", {"query": expr, **times})]

    def _ask(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        request = urllib.request.Request(
            f"{self._url}/api/v1/{path}", urllib.parse.urlencode(parameters).encode(), self._headers()
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            raise InputError(f"{self._url} answered {error.code}: {_reason(error)}") from error
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Prometheus answers at {self._url} ({error}); to reach one in a cluster, run "
                "`kubectl -n NAMESPACE port-forward svc/PROMETHEUS 9090` and use http://localhost:9090"
            ) from error
        result: list[dict[str, Any]] = document["data"]["result"]
        return result

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError as error:
            raise InputError(f"the token cannot be read: {error}") from error


def _series(item: Mapping[str, Any]) -> Series:
    points = [(float(at), float(value)) for at, value in item["values"] if value != "NaN"]
    return Series(item["metric"], tuple(at for at, _ in points), tuple(value for _, value in points))


def _reason(error: urllib.error.HTTPError) -> str:
    """Prometheus' own words where it gave some."""
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
