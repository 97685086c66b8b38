"""Parts of `spec.engine`: tokens drafted ahead, and a cache of compiled kernels."""

from typing import Annotated

from pydantic import Field, StringConstraints

from gemma_operator.api.base import ApiModel, DnsName

_REVISION = r"^[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$"
"""A branch, tag or commit, which never climbs."""


class DrafterSpec(ApiModel):
    """A small model that guesses tokens ahead (multi-token prediction); the engine keeps the right ones.

    Answers stay what they are; one request gets faster, a busy replica hardly. Gemma 4 on vLLM.
    """

    tokens: Annotated[int, Field(ge=1, le=8)] = Field(default=4)
    """Tokens guessed per step."""
    repository: Annotated[str, StringConstraints(max_length=200, pattern=r"^[\w.-]+/[\w.-]+$")] | None = (
        Field(default=None)
    )
    """Repository of the drafter, on the model's hub. Default: the catalogue's for this variant."""
    revision: Annotated[str, StringConstraints(max_length=200, pattern=_REVISION)] | None = Field(
        default=None
    )
    """Branch, tag or commit. Default: `main`."""


class CompileCacheSpec(ApiModel):
    """Keeps what the engine compiles at its first start, for pods to come."""

    claim_name: DnsName
    """An existing claim that pods may write to; `ReadWriteMany` where they run on several nodes."""
