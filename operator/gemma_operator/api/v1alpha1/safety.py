"""`spec.safety`: what is refused for its content."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from gemma_operator.api.base import ApiModel, DnsName


class Policy(StrEnum):
    """A rule that ShieldGemma was trained to judge."""

    DANGEROUS_CONTENT = "DangerousContent"
    HARASSMENT = "Harassment"
    HATE_SPEECH = "HateSpeech"
    SEXUALLY_EXPLICIT = "SexuallyExplicit"


class Stage(StrEnum):
    """What is checked."""

    INPUT = "Input"
    OUTPUT = "Output"


class GuardFailure(StrEnum):
    """What happens without the guard's judgement."""

    CLOSED = "Closed"
    OPEN = "Open"


class ConfigMapRef(ApiModel):
    """A ConfigMap in the resource's own namespace, as a whole."""

    name: DnsName
    """Name of the ConfigMap. Each entry is a list with one term per line."""


class GuardKeyRef(ApiModel):
    """One key of a Secret with an API key."""

    name: DnsName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(default="key")
    """Key within the Secret."""


class GuardRef(ApiModel):
    """A GemmaDeployment of a ShieldGemma variant in the same namespace."""

    name: DnsName
    """Its name."""
    api_key_secret_ref: GuardKeyRef | None = Field(default=None)
    """Secret with the API key that it asks for."""


class SafetySpec(ApiModel):
    """What is refused for its content."""

    max_input_characters: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(default=None)
    """Longest input, all messages together. Default: what the context holds."""
    blocked_terms_config_map_ref: ConfigMapRef | None = Field(default=None)
    """ConfigMap with terms that are refused, as whole words, in input and output."""
    guard_ref: GuardRef | None = Field(default=None)
    """A ShieldGemma that judges input and output."""
    policies: Annotated[list[Policy], Field(max_length=4)] = Field(default=[])
    """Rules that the guard judges by. Default: all four."""
    stages: Annotated[list[Stage], Field(min_length=1, max_length=2)] = Field(
        default=[Stage.INPUT, Stage.OUTPUT]
    )
    """What is checked."""
    on_guard_failure: GuardFailure = Field(default=GuardFailure.CLOSED)
    """`Closed`: nothing passes unchecked. `Open`: it passes, and is counted."""
