"""`spec.access`: who may ask, and how much."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from gemma_operator.api.base import ApiModel, DnsName

_Limit = Annotated[int, Field(ge=1, le=1_000_000_000)]


class StoreFailure(StrEnum):
    """What happens to requests while the store of limits is down."""

    OPEN = "Open"
    CLOSED = "Closed"


class ApiKeysSecretRef(ApiModel):
    """A Secret in the resource's own namespace, as a whole."""

    name: DnsName
    """Name of the Secret. Each entry is a consumer, each line of it a key or a key's SHA-256."""


class UrlSecretRef(ApiModel):
    """One key of a Secret that holds a URL."""

    name: DnsName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(default="url")
    """Key within the Secret."""


class KeyLimitsSpec(ApiModel):
    """What one key may use. A key's own line in the Secret overrides it."""

    requests_per_minute: _Limit | None = Field(default=None)
    """Requests in any minute."""
    requests_per_hour: _Limit | None = Field(default=None)
    """Requests in any hour."""
    tokens_per_minute: _Limit | None = Field(default=None)
    """Tokens of prompts and answers in any minute."""
    tokens_per_request: _Limit | None = Field(default=None)
    """Longest answer."""


class LimitStoreSpec(ApiModel):
    """A Redis or Valkey that all replicas count in."""

    url_secret_ref: UrlSecretRef
    """Secret with its URL: `redis://…`, `rediss://…` or `valkey://…`."""
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=6379)
    """Port that the network policy opens."""
    on_failure: StoreFailure = Field(default=StoreFailure.OPEN)
    """`Open`: each replica counts for itself while the store is down. `Closed`: requests get 503."""


class AccessSpec(ApiModel):
    """Who may ask, and how much."""

    api_keys_secret_ref: ApiKeysSecretRef | None = Field(default=None)
    """Secret with API keys. Named: every request needs one. Default: anybody may ask."""
    limits: KeyLimitsSpec = Field(default=KeyLimitsSpec())
    """Of every key that sets none of its own. Default: no limits."""
    limit_store: LimitStoreSpec | None = Field(default=None)
    """Where limits are counted. Default: in each replica."""
