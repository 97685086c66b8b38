"""LoRA adapters of a plan: which files each has, and where they come from."""

from gemma_operator.api.v1alpha1 import AdapterSpec
from gemma_operator.planning.memory import adapter_bytes
from gemma_operator.planning.plan import AdapterPlan, WeightsPlan
from gemma_operator.planning.wish import Wish

PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What serving reads of a folder that PEFT or TRL saved; the tokenizer is the model's."""


def adapter_plans(adapters: list[AdapterSpec], wish: Wish) -> tuple[AdapterPlan, ...]:
    """One plan per adapter, ordered by name so that their order in the spec changes nothing."""
    return tuple(_plan(adapter, wish) for adapter in sorted(adapters, key=lambda one: one.name))


def _plan(adapter: AdapterSpec, wish: Wish) -> AdapterPlan:
    hub, claim = adapter.source.hugging_face, adapter.source.persistent_volume_claim
    token = hub.token_secret_ref if hub else None
    weights = WeightsPlan(
        repository=hub.repository if hub else None,
        revision=hub.revision if hub else None,
        endpoint=hub.endpoint if hub else None,
        token_secret_name=token.name if token else None,
        token_secret_key=token.key if token else None,
        files=PEFT_FILES if hub else (),
        entry=".",
        claim_name=claim.claim_name if claim else None,
        claim_path=claim.path if claim else None,
        size_bytes=adapter_bytes(wish.architecture, adapter.rank),
    )
    return AdapterPlan(adapter.name, weights, adapter.rank)
