"""Alternatives to a refused spec: changes that this planner itself verified to fit, the cheapest first."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import AccessMode, EngineName, GemmaDeploymentSpec, Precision
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.planning.choose import candidates
from gemma_operator.planning.fit import Misfit
from gemma_operator.planning.gpu import legal_counts
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import CPU, Plan, Refusal, Remedy
from gemma_operator.planning.precision import precision_order
from gemma_operator.planning.wish import Wish, wish_of

Decide = Callable[[GemmaDeploymentSpec], Plan | Refusal | Misfit]
Fragment = dict[str, Any]

MOST_REMEDIES = 3
MOST_TRIALS = 14
"""Alternatives tried at most, so that a refusal stays within a plan's time."""
LEAST_CONTEXT = 1024
"""A shorter context than this is no remedy."""
TOKEN_SECRET = "hugging-face-token"
"""Name that a fragment proposes for the Secret; the team creates it."""


def remedies_for(
    spec: GemmaDeploymentSpec, refusal: Refusal, limit: int | None, world: World, decide: Decide
) -> tuple[Remedy, ...]:
    """Up to three verified alternatives, at most one of each kind, the cheapest first.

    Args:
        spec: what was refused.
        refusal: why.
        limit: the most requests or tokens of context that the refused attempt holds, where it knows.
        world: what to choose from.
        decide: the planner itself, without remedies.
    """
    found: dict[str, Remedy] = {}
    for trial, (kind, fragment) in enumerate(_alternatives(spec, refusal, limit, world)):
        if trial >= MOST_TRIALS:
            break
        if kind in found:
            continue
        changed = with_fragment(spec, fragment)
        plan = decide(changed) if changed is not None else None
        if isinstance(plan, Plan):
            found[kind] = Remedy(_sentence(fragment, plan), fragment, _hourly(plan))
    ranked = sorted(
        found.values(), key=lambda remedy: (remedy.hourly_cost is None, remedy.hourly_cost or 0.0)
    )
    return tuple(ranked[:MOST_REMEDIES])


def with_fragment(spec: GemmaDeploymentSpec, fragment: Fragment) -> GemmaDeploymentSpec | None:
    """The spec with a fragment merged in; None where the result is no valid spec."""
    merged = _merge(spec.model_dump(by_alias=True, exclude_none=True, mode="json"), fragment)
    try:
        return GemmaDeploymentSpec.model_validate(merged)
    except ValidationError:
        return None


def _merge(base: Fragment, change: Fragment) -> Fragment:
    merged = dict(base)
    for key, value in change.items():
        known = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(known, dict) and isinstance(value, dict):
            merged[key] = _merge(known, value)
        else:
            merged[key] = value
    return merged


def _alternatives(
    spec: GemmaDeploymentSpec, refusal: Refusal, limit: int | None, world: World
) -> Iterator[tuple[str, Fragment]]:
    if refusal.reason in (Reason.UNKNOWN_VARIANT, Reason.UNSERVABLE_VARIANT):
        yield from _other_variants(spec, world.catalog)
        return
    if refusal.reason is Reason.CONTEXT_TOO_LONG:
        variant = world.catalog.variant(spec.model.variant)
        if variant is not None:
            yield "context", {"model": {"contextLength": variant.context_length}}
        return
    wish = wish_of(spec, world.catalog)
    if isinstance(wish, Refusal):
        return
    if refusal.reason is Reason.TOKEN_REQUIRED:
        hub = {"repository": wish.variant.repository, "tokenSecretRef": {"name": TOKEN_SECRET}}
        yield "token", {"model": {"source": {"huggingFace": hub}}}
    if refusal.reason is Reason.CACHE_ON_ONE_NODE:
        yield "cache", {"cache": {"accessMode": AccessMode.READ_WRITE_MANY.value}}
        return
    if refusal.reason is Reason.CONCURRENCY_TOO_HIGH and limit:
        yield "requests", {"capacity": {"maxConcurrentRequests": limit}}
    yield from _other_precisions(wish)
    yield from _more_accelerators(wish, world)
    if refusal.reason is Reason.DOES_NOT_FIT and limit and limit >= LEAST_CONTEXT:
        yield "context", {"model": {"contextLength": limit}}
    yield from _other_accelerators(wish, world)
    if wish.engine is not EngineName.AUTO:
        yield "engine", {"engine": {"name": EngineName.AUTO.value}}


def _other_variants(spec: GemmaDeploymentSpec, catalog: Catalog) -> Iterator[tuple[str, Fragment]]:
    """For an unknown name its nearest; for a relative that nobody serves one that does the same task."""
    name = spec.model.variant.lower()
    known = catalog.variant(name)
    if known is not None:
        served = {key: row for key, row in catalog.variants.items() if not row.refusal}
        same = [key for key, row in served.items() if set(known.tasks) & set(row.tasks)]
        names = sorted(same, key=lambda key: served[key].quality)
    else:
        names = list(catalog.nearest_variants(name))
    for other in names[:MOST_REMEDIES]:
        yield f"variant {other}", {"model": {"variant": other}}


def _other_precisions(wish: Wish) -> Iterator[tuple[str, Fragment]]:
    engine = EngineName.LLAMA_CPP if (wish.accelerator or "").lower() == CPU else EngineName.VLLM
    for precision in precision_order(engine, wish.optimization):
        if wish.precision not in (precision, Precision.AUTO):
            yield "precision", {"model": {"precision": precision.value}}


def _more_accelerators(wish: Wish, world: World) -> Iterator[tuple[str, Fragment]]:
    found = world.catalog.accelerator(wish.accelerator) if wish.accelerator else None
    if found is None or wish.count is None:
        return
    counts = legal_counts(wish, found[1])
    for count in counts if wish.count not in counts else [n for n in counts if n > wish.count]:
        yield "count", {"hardware": {"count": count}}


def _other_accelerators(wish: Wish, world: World) -> Iterator[tuple[str, Fragment]]:
    """Others the cluster or the price file has, the cheapest first, each with its smallest count."""
    if wish.accelerator is None and not wish.candidates:
        return
    for key, _ in candidates(world):
        if key != (wish.accelerator or "").lower():
            yield "accelerator", {"hardware": _moved(wish, key)}
    if (wish.accelerator or "").lower() != CPU and wish.engine in (EngineName.AUTO, EngineName.LLAMA_CPP):
        fragment: Fragment = {"hardware": _moved(wish, CPU)}
        if wish.precision is not Precision.AUTO:
            fragment["model"] = {"precision": Precision.AUTO.value}
        yield "cpu", fragment


def _moved(wish: Wish, accelerator: str) -> Fragment:
    """The hardware on another accelerator; a null takes out what belonged to the old one."""
    hardware: Fragment = {"accelerator": accelerator}
    if wish.candidates:
        hardware["candidates"] = None
    if wish.count is not None:
        hardware["count"] = None
    return hardware


def _hourly(plan: Plan) -> float | None:
    return plan.outlook.hourly_cost if plan.outlook else None


def _sentence(fragment: Fragment, plan: Plan) -> str:
    """`precision INT4 on 1 x nvidia-l4 (0.71 USD/h)`."""
    model = fragment.get("model", {})
    changes = []
    if "variant" in model:
        changes.append(f"variant {model['variant']}")
    if "precision" in model and model["precision"] != Precision.AUTO.value:
        changes.append(f"precision {model['precision']}")
    if "contextLength" in model:
        changes.append(f"contextLength {model['contextLength']}")
    if "source" in model:
        changes.append(f"a token in Secret {TOKEN_SECRET}")
    if "capacity" in fragment:
        changes.append(f"maxConcurrentRequests {fragment['capacity']['maxConcurrentRequests']}")
    if "cache" in fragment:
        changes.append(f"cache.accessMode {fragment['cache']['accessMode']}")
    if "engine" in fragment:
        changes.append(f"engine {plan.engine.value}")
    where = "cpu" if plan.accelerator == CPU else f"{plan.count} x {plan.accelerator}"
    hourly = _hourly(plan)
    price = f" ({hourly:.2f} per hour)" if hourly is not None else ""
    return (
        f"{', '.join(changes)} on {where}{price}" if changes else f"{where} in {plan.precision.value}{price}"
    )
