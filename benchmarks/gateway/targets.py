"""What the gateway promises, against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DIRECT = "triton direct (gRPC)"
GATEWAY = "gateway"
LITELLM = "litellm"
POD = "pod on llama.cpp"
LLAMACPP = "llama.cpp's server"

ADDED_MS = {"p50": 3.0, "p99": 15.0}
"""To the first token at 16 streams."""
TOKENS_PER_CORE = 8_000
"""Relayed per second and core of the gateway."""
TIMES_LITELLM = 3.0
"""Tokens per CPU second of the gateway over LiteLLM's, from an equally coalesced source."""
RSS_MIB = 150.0
"""Of the gateway at 64 streams."""
JUDGED_STREAMS, CROWD = "16", "64"


@dataclass(frozen=True)
class Verdict:
    """One target."""

    what: str
    measured: float
    wanted: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    def __str__(self) -> str:
        """One line."""
        bound = "at most" if self.at_most else "at least"
        return (
            f"{'holds ' if self.met else 'MISSED'} {self.what}: {self.measured:g} ({bound} {self.wanted:g})"
        )


def verdicts(results: dict[str, Any]) -> list[Verdict]:
    """Every target that the run can judge."""
    own, direct = results[GATEWAY], results[DIRECT]
    found = []
    for quantile, wanted in ADDED_MS.items():
        key = f"ttft_ms_{quantile}"
        added = round(own[JUDGED_STREAMS][key] - direct[JUDGED_STREAMS][key], 2)
        found.append(Verdict(f"added to the first token at 16 streams, {quantile}, ms", added, wanted, True))
    per_core = own[JUDGED_STREAMS]["tokens_per_cpu_second"]
    found.append(Verdict("tokens/s per core of the gateway, 16 streams", per_core, TOKENS_PER_CORE, False))
    found.append(Verdict("memory at 64 streams, MiB", own[CROWD]["rss_mib"], RSS_MIB, True))
    if LITELLM in results:
        peer = results[LITELLM][JUDGED_STREAMS]["tokens_per_cpu_second"]
        times = round(per_core / peer, 1)
        found.append(Verdict("throughput over LiteLLM's, 16 streams", times, TIMES_LITELLM, False))
    return found
