"""Parts of `spec.engine`: a cache of compiled kernels."""

from gemma_operator.api.base import ApiModel, DnsName


class CompileCacheSpec(ApiModel):
    """Keeps what the engine compiles at its first start, for pods to come."""

    claim_name: DnsName
    """An existing claim that pods may write to; `ReadWriteMany` where they run on several nodes."""
