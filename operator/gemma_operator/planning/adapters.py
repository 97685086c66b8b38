"""LoRA adapters of a plan: which files each has, and where they come from."""

from dataclasses import replace

from gemma_operator.api.v1alpha1 import AdapterSpec
from gemma_operator.planning.memory import adapter_bytes
from gemma_operator.planning.origin import FetchedOrigin, HubOrigin, origin_of
from gemma_operator.planning.plan import AdapterPlan, WeightsPlan
from gemma_operator.planning.wish import Wish

PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What serving reads of a folder that PEFT or TRL saved; the tokenizer is the model's."""


def adapter_plans(adapters: list[AdapterSpec], wish: Wish) -> tuple[AdapterPlan, ...]:
    """One plan per adapter, ordered by name so that their order in the spec changes nothing."""
    return tuple(_plan(adapter, wish) for adapter in sorted(adapters, key=lambda one: one.name))


def _plan(adapter: AdapterSpec, wish: Wish) -> AdapterPlan:
    origin = origin_of(adapter.source)
    if isinstance(origin, HubOrigin):
        origin = replace(origin, is_of_server=True)
    weights = WeightsPlan(
        origin=origin,
        files=PEFT_FILES if isinstance(origin, FetchedOrigin) else (),
        entry=".",
        size_bytes=adapter_bytes(wish.architecture, adapter.rank),
    )
    return AdapterPlan(adapter.name, weights, adapter.rank)
