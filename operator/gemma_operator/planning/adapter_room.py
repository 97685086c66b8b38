"""Room for LoRA adapters: for those that the spec lists, and for those that its slots keep room for."""

from gemma_operator.api.v1alpha1 import ModelSpec
from gemma_operator.planning.plan import AdapterRoom


def adapter_room(model: ModelSpec) -> AdapterRoom:
    """Count and largest rank to plan memory for; slots that are too few or too small grow with the list."""
    count, rank = len(model.adapters), max((adapter.rank for adapter in model.adapters), default=0)
    slots = model.adapter_slots
    return (
        AdapterRoom(count, rank)
        if slots is None
        else AdapterRoom(max(count, slots.count), max(rank, slots.rank))
    )
