"""What the chart tells the front door."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from gemma_serving.contract.codec import Message
from gemma_serving.frontdoor.fleet import Route


@dataclass(frozen=True, slots=True)
class FrontDoorConfig(Message):
    """front-door.json."""

    _nested: ClassVar[dict[str, type]] = {"routes": Route}

    namespaces: list[str] = field(default_factory=list)
    """Whose endpoints it serves; empty: all."""
    routes: list[Route] = field(default_factory=list)
    """Names of its own, shares and mirrors."""
    max_held_requests: int = 200
    """For each endpoint without pods."""
    hold_seconds: float = 900.0
    """Longest a request waits for a pod: a node, the images and the weights may have to come first."""
    request_timeout_seconds: float = 3600.0
    """Longest silence of a pod. Pods have shorter limits of their own."""
