"""What one kind of attention layer keeps per token: the spec objects that every engine's cache rule is built
from."""

from dataclasses import dataclass

from gemma_operator.catalog.rows import Architecture
from gemma_operator.planning.units import ceil_div


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """Layers of one kind that keep a KV cache of their own, as one tensor-parallel rank holds them."""

    layers: int
    kv_heads: int
    """Per rank: divided by the ranks, never below one (a head that cannot be divided is replicated)."""
    head_size: int
    window: int | None
    """Tokens a layer looks back; None: all of them."""

    @property
    def width(self) -> int:
        """Elements of one key, or of one value, per token and layer."""
        return self.kv_heads * self.head_size

    def bytes_per_token(self, element_bytes: int) -> int:
        """Keys and values of all these layers for one token."""
        return self.layers * 2 * self.width * element_bytes

    def tokens_kept(self, context: int) -> int:
        """Least number of tokens a sequence of that length needs kept."""
        return context if self.window is None else min(self.window, context)


@dataclass(frozen=True, slots=True)
class AttentionSpecs:
    """Both kinds of one model body on one rank. A body without local layers has `local.layers == 0`."""

    local: AttentionSpec
    global_: AttentionSpec

    def ideal_bytes(self, context: int, element_bytes: int) -> int:
        """The floor that no engine goes below: windows for local layers, everything for global ones."""
        return sum(
            spec.bytes_per_token(element_bytes) * spec.tokens_kept(context)
            for spec in (self.local, self.global_)
        )

    def full_bytes(self, context: int, element_bytes: int) -> int:
        """The cost without sliding windows: every own layer keeps every token."""
        return context * (
            self.local.bytes_per_token(element_bytes) + self.global_.bytes_per_token(element_bytes)
        )


def attention_specs(architecture: Architecture, tensor_parallel_size: int) -> AttentionSpecs:
    """Spec objects of a body split over that many ranks."""

    def heads(total: int) -> int:
        return max(1, ceil_div(total, tensor_parallel_size))

    return AttentionSpecs(
        local=AttentionSpec(
            layers=architecture.own_layers.local,
            kv_heads=heads(architecture.kv_heads.local),
            head_size=architecture.head_size.local,
            window=architecture.sliding_window,
        ),
        global_=AttentionSpec(
            layers=architecture.own_layers.global_,
            kv_heads=heads(architecture.kv_heads.global_),
            head_size=architecture.head_size.global_,
            window=None,
        ),
    )
