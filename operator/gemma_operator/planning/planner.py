"""make_plan: from a spec and the facts to a Plan, or a Refusal. Pure: same input, same answer."""

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.planning.choose import World, choose
from gemma_operator.planning.compose import compose
from gemma_operator.planning.fit import CpuFit, GpuFit, Misfit
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.wish import Wish, wish_of
from gemma_operator.settings import PlanningSettings


def make_plan(
    spec: GemmaDeploymentSpec, catalog: Catalog, settings: PlanningSettings, inventory: Inventory
) -> Plan | Refusal:
    """How to serve the spec, or why not. An empty inventory plans offline, against the whole catalogue."""
    wish = wish_of(spec, catalog)
    if isinstance(wish, Refusal):
        return wish
    fit = choose(wish, World(catalog, settings, inventory))
    if isinstance(fit, Misfit):
        return Refusal(fit.reason, fit.message)
    return _token_missing(spec, wish, fit, settings) or compose(fit, wish, spec, settings)


def _token_missing(
    spec: GemmaDeploymentSpec, wish: Wish, fit: GpuFit | CpuFit, settings: PlanningSettings
) -> Refusal | None:
    """A gated repository without a token is refused before hardware is asked for. A mirror has rules of its
    own."""
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
        f"{fit.checkpoint.repository} is gated ({wish.variant.licence}) and no token is given: accept "
        f"the licence on the "
        f"hub, put an access token into a Secret and set model.source.huggingFace.tokenSecretRef "
        f"(repository {fit.checkpoint.repository})",
    )
