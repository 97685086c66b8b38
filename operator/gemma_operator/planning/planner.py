"""make_plan: from a spec and the facts to a Plan, or a Refusal. Pure: same input, same answer."""

from dataclasses import replace

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.planning.cache import unmountable_cache
from gemma_operator.planning.choose import choose
from gemma_operator.planning.compose import compose
from gemma_operator.planning.fit import CpuFit, GpuFit, Misfit
from gemma_operator.planning.given_arguments import refused_argument
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.place import World
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.remedies import remedies_for
from gemma_operator.planning.wish import Wish, wish_of
from gemma_operator.settings import PlanningSettings


def make_plan(
    spec: GemmaDeploymentSpec, catalog: Catalog, settings: PlanningSettings, inventory: Inventory
) -> Plan | Refusal:
    """How to serve the spec, or why not and what would. An empty inventory plans against the whole
    catalogue."""
    world = World(catalog, settings, inventory)
    answer = _attempt(spec, world)
    if isinstance(answer, Plan):
        return answer
    limit = answer.limit() if isinstance(answer, Misfit) and answer.limit else None
    refusal = Refusal(answer.reason, answer.message, memory=answer.memory)
    remedies = remedies_for(spec, refusal, limit, world, lambda changed: _attempt(changed, world))
    if not remedies:
        return refusal
    offered = "; or ".join(remedy.sentence for remedy in remedies)
    return replace(refusal, message=f"{refusal.message}. What fits: {offered}", remedies=remedies)


def decide(spec: GemmaDeploymentSpec, world: World) -> Plan | Refusal:
    """The answer without remedies: what recommendations ask."""
    answer = _attempt(spec, world)
    if isinstance(answer, Misfit):
        return Refusal(answer.reason, answer.message, memory=answer.memory)
    return answer


def _attempt(spec: GemmaDeploymentSpec, world: World) -> Plan | Refusal | Misfit:
    wish = wish_of(spec, world.catalog)
    if isinstance(wish, Refusal):
        return wish
    fit = choose(wish, world)
    if isinstance(fit, Misfit):
        return fit
    return _missing(spec, wish, fit, world) or compose(fit, wish, spec, world.settings)


def _missing(spec: GemmaDeploymentSpec, wish: Wish, fit: GpuFit | CpuFit, world: World) -> Refusal | None:
    return (
        _token_missing(spec, wish, fit, world.settings)
        or refused_argument(spec.engine.arguments, fit.version, world.catalog)
        or unmountable_cache(spec)
    )


def _token_missing(
    spec: GemmaDeploymentSpec, wish: Wish, fit: GpuFit | CpuFit, settings: PlanningSettings
) -> Refusal | None:
    """A gated repository without a token is refused before hardware is asked for. Mirrors have own rules."""
    source = spec.model.source
    hub = source.hugging_face if source else None
    if not settings.require_token or (source is not None and hub is None):
        return None
    if hub is not None and (
        hub.token_secret_ref or hub.endpoint or hub.repository != fit.checkpoint.repository
    ):
        return None
    gated = wish.variant.gated if fit.checkpoint.gated is None else fit.checkpoint.gated
    if not gated:
        return None
    return Refusal(
        Reason.TOKEN_REQUIRED,
        f"{fit.checkpoint.repository} is gated ({wish.variant.licence}) and no token is given: accept the "
        "licence on the hub, put an access token into a Secret and name it in "
        f"model.source.huggingFace.tokenSecretRef, with repository {fit.checkpoint.repository}",
    )
