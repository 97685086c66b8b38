"""Reads gateways' /metrics pages without a Prometheus between: two pages some seconds apart make rates."""

import math
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from gemma_operator.cli.documents import InputError

TIMEOUT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Page:
    """One replica's page: sample name and labels to value."""

    url: str
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    @property
    def model(self) -> str:
        """The endpoint that this replica belongs to."""
        for name, labels in self.samples:
            if name == "gemma_concurrency_limit":
                return dict(labels)["model"]
        raise InputError(
            f"{self.url} is not the metrics page of a gateway; it is on port 9090 of a serving pod"
        )

    def total(self, name: str) -> float:
        """Sum of a name over all its label sets; 0 where there is none."""
        return math.fsum(value for (sample, _), value in self.samples.items() if sample == name)

    def buckets(self, name: str) -> dict[float, float]:
        """Upper bound to cumulative count of a histogram."""
        found: dict[float, float] = defaultdict(float)
        for (sample, labels), value in self.samples.items():
            if sample == f"{name}_bucket":
                found[float(dict(labels)["le"])] += value
        return dict(found)


def fetch(url: str) -> Page:
    """Fetch a page. Raises InputError when nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return parse(url, answer.read().decode())
    except (OSError, ValueError) as error:
        raise InputError(f"no metrics at {url}: {error}") from error


def parse(url: str, text: str) -> Page:
    """Read a page in Prometheus' text form."""
    return Page(
        url,
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        },
    )


def increase(before: Page, after: Page, name: str) -> float:
    """What a counter grew by; from zero if it was reset between."""
    grown = after.total(name) - before.total(name)
    return grown if grown >= 0 else after.total(name)


def quantile(before: Sequence[Page], after: Sequence[Page], name: str, wanted: float) -> float | None:
    """A quantile of what a histogram saw between two times, over replicas; None if it saw nothing."""
    counts: dict[float, float] = defaultdict(float)
    for old, new in zip(before, after, strict=True):
        known = old.buckets(name)
        for bound, count in new.buckets(name).items():
            counts[bound] += max(0.0, count - known.get(bound, 0.0))
    return bucket_quantile(sorted(counts.items()), wanted)


def bucket_quantile(buckets: Iterable[tuple[float, float]], wanted: float) -> float | None:
    """As PromQL's histogram_quantile: linear within a bucket, the last finite bound beyond it.

    `buckets` are (upper bound, cumulative count), ascending, the last bound infinite.
    """
    ordered = list(buckets)
    if not ordered or ordered[-1][1] <= 0:
        return None
    rank = wanted * ordered[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in ordered:
        if count >= rank and count > below:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower
