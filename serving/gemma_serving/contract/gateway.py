"""What the gateway of a pod allows, refuses and watches: parts of runtime.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from gemma_serving.contract.codec import Message


@dataclass(frozen=True, slots=True)
class KeyLimits(Message):
    """What one API key may use; None: no limit."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    tokens_per_minute: int | None = None
    """Prompt plus answer."""
    tokens_per_request: int | None = None
    """Longest answer."""


@dataclass(frozen=True, slots=True)
class AccessConfig(Message):
    """Who may ask, and how much."""

    _nested: ClassVar[dict[str, type]] = {"limits": KeyLimits}

    keys_path: str | None = None
    """Folder of the mounted Secret with API keys; None: no key is asked for."""
    limits: KeyLimits = field(default_factory=KeyLimits)
    """Of every key that names none of its own."""
    limit_store_url_path: str | None = None
    """File with the URL of a Redis or Valkey that all replicas count in; None: each counts for itself."""
    limit_store_failure: str = "Open"
    """Open: each replica counts for itself while the store is down. Closed: requests get 503."""


@dataclass(frozen=True, slots=True)
class SafetyConfig(Message):
    """What is refused for its content."""

    max_input_characters: int | None = None
    blocked_terms_path: str | None = None
    """Folder of the mounted ConfigMap with one term per line."""
    guard_url: str | None = None
    """Base URL (`http://NAME.NAMESPACE:8080`) of a GemmaDeployment that serves a ShieldGemma."""
    guard_model: str = ""
    guard_key_path: str | None = None
    """File with the API key that the guard asks for."""
    policies: list[str] = field(default_factory=list)
    """Names of ShieldGemma's policies; empty: all four."""
    stages: list[str] = field(default_factory=lambda: ["Input", "Output"])
    on_guard_failure: str = "Closed"
    """Closed: nothing passes unchecked. Open: it passes, and is counted."""


@dataclass(frozen=True, slots=True)
class MediaConfig(Message):
    """Images and sound in requests."""

    max_items: int = 8
    """Of one request."""
    max_bytes: int = 20 * 2**20
    """Of one item, encoded."""
    max_pixels: int = 50_000_000
    """Of one image, decoded: 150 MB as RGB."""
    fetch: bool = False
    """Whether `https:` URLs are fetched; `data:` URLs always work."""


@dataclass(frozen=True, slots=True)
class QualityConfig(Message):
    """Scores of a sample of the answers."""

    sample_percent: float = 1.0


@dataclass(frozen=True, slots=True)
class HealthConfig(Message):
    """From where `/health` says `degraded`."""

    canary_seconds: float = 10.0
    """One token of an idle engine takes longer."""
    success_percent: float = 95.0
    """Fewer of the recent requests succeeded."""
    queue_percent: float = 80.0
    """The queue is fuller."""
    memory_percent: float = 90.0
    """The gateway uses more of its memory limit."""


@dataclass(frozen=True, slots=True)
class TracingConfig(Message):
    """Where spans of requests go."""

    endpoint: str
    """URL of a collector that takes OTLP over gRPC (`http://NAME.NAMESPACE:4317`)."""
    sample_percent: float = 100.0
    """Of requests that bring no trace context; the others follow their caller's decision."""
