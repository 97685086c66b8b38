"""What a spec asks for, resolved against the catalogue: a Wish, or the Refusal of a spec that no hardware
could help."""

from dataclasses import dataclass

from gemma_operator.api.quantity import parse_bytes, parse_millicores
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec, Optimization, Precision
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.rows import Architecture, Variant
from gemma_operator.planning.adapter_room import adapter_room
from gemma_operator.planning.drafting import Drafting, drafting_of
from gemma_operator.planning.media import request_media_bytes, too_much_media
from gemma_operator.planning.plan import Refusal

DEFAULT_CONTEXT_TOKENS = 8192
"""api.md: min(8192, the variant's maximum)."""
AUTO = "Auto"


@dataclass(frozen=True, slots=True)
class Wish:
    """A spec whose variant exists and whose context the variant can do. None: the planner chooses."""

    variant_key: str
    variant: Variant
    architecture: Architecture
    context: int
    precision: Precision
    optimization: Optimization
    engine: EngineName
    accelerator: str | None
    candidates: tuple[str, ...]
    """Accelerators to try in this order; empty: the planner's own order."""
    count: int | None
    concurrency: int | None
    cpu_millicores: int | None
    memory_bytes: int | None
    media_items: int
    """Images and sounds that one request may bring."""
    media_bytes: int = 0
    """Most that they weigh together, as the engine gets them."""
    image: str | None = None
    """The spec's own engine image."""
    adapters: int = 0
    """LoRA adapters to have room for beside the model."""
    adapter_rank: int = 0
    """Largest rank among them."""
    drafting: Drafting | None = None
    """The drafter to hold beside the model."""

    @property
    def image_tag(self) -> str | None:
        """Such as `26.08-vllm-python-py3`: tells the engine version, where the catalogue has it."""
        name = (self.image or "").partition("@")[0].rpartition("/")[2]
        return name.partition(":")[2] or None

    @property
    def heads(self) -> int:
        """Attention heads, which tensor parallelism must divide."""
        return self.architecture.attention_heads


def wish_of(spec: GemmaDeploymentSpec, catalog: Catalog) -> Wish | Refusal:
    """Resolve the spec against the catalogue."""
    variant = catalog.variant(spec.model.variant)
    if variant is None:
        return Refusal(Reason.UNKNOWN_VARIANT, _unknown(spec.model.variant, catalog))
    key = spec.model.variant.lower()
    if variant.refusal is not None:
        return Refusal(Reason.UNSERVABLE_VARIANT, f"{key} cannot be served: {variant.refusal}")
    context = spec.model.context_length or min(DEFAULT_CONTEXT_TOKENS, variant.context_length)
    if context > variant.context_length:
        return Refusal(
            Reason.CONTEXT_TOO_LONG,
            f"{key} was asked for {context} tokens of context and has {variant.context_length}; "
            f"set contextLength to {variant.context_length} or less",
        )
    try:
        drafting = drafting_of(spec.engine.drafter, variant, catalog)
    except LookupError as error:
        return Refusal(Reason.UNSUPPORTED_ENGINE, str(error.args[0]))
    excess = too_much_media(spec.media, variant.modalities)
    if excess is not None:
        return Refusal(Reason.DOES_NOT_FIT, f"{key}: {excess}")
    hardware, room = spec.hardware, adapter_room(spec.model)
    return Wish(
        variant_key=key,
        variant=variant,
        architecture=catalog.architecture_of(variant),
        context=context,
        precision=spec.model.precision,
        optimization=spec.model.optimization,
        engine=spec.engine.name,
        accelerator=None if hardware.accelerator == AUTO else hardware.accelerator,
        candidates=tuple(hardware.candidates),
        count=hardware.count,
        concurrency=spec.capacity.max_concurrent_requests,
        cpu_millicores=None if hardware.cpu is None else parse_millicores(hardware.cpu),
        memory_bytes=None if hardware.memory is None else parse_bytes(hardware.memory),
        media_items=spec.media.max_items,
        media_bytes=request_media_bytes(spec.media, variant.modalities),
        image=spec.engine.image,
        adapters=room.count,
        adapter_rank=room.rank,
        drafting=drafting,
    )


def _unknown(name: str, catalog: Catalog) -> str:
    """`gemma-3-8b-it does not exist; Gemma 3 has 270m, 1b, 4b, 12b, 27b`."""
    wanted = name.lower()
    generations: dict[str, list[str]] = {}
    for variant in catalog.variants.values():
        sizes = generations.setdefault(variant.generation, [])
        if variant.size not in sizes and variant.refusal is None:
            sizes.append(variant.size)
    forms = [key for key in (f"{wanted}-it", f"{wanted}-pt") if key in catalog.variants]
    if forms:
        return f"{name} does not exist; there are {' and '.join(forms)}"
    for generation in sorted(generations, key=len, reverse=True):
        prefix = generation.lower().replace(" ", "-") + "-"
        if wanted.startswith(prefix) and generations[generation]:
            return f"{name} does not exist; {generation} has {', '.join(generations[generation])}"
    nearest = catalog.nearest_variants(name)
    if nearest:
        return f"{name} does not exist; the nearest are {', '.join(nearest)}"
    served = ", ".join(generation for generation, sizes in generations.items() if sizes)
    return f"{name} does not exist; the catalogue has {served}"
