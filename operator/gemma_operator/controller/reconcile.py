"""The corridor: spec → plan → manifests → apply → observe → conditions. Each arrow is one function."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from gemma_operator import __version__
from gemma_operator.api.manifest import Manifest, ObjectKey, Owner, object_key, owner_of
from gemma_operator.api.read import SpecError, read_spec
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.controller.announcements import announcements
from gemma_operator.controller.basis import Basis
from gemma_operator.controller.drift import is_outdated, stamped
from gemma_operator.controller.endpoints import Picture
from gemma_operator.controller.progress import PROGRESS_SECONDS
from gemma_operator.controller.rollout import Settled, Surroundings, settle, waiting_for_weights
from gemma_operator.controller.scaling import (
    AUTOSCALERS,
    arranged,
    hand_over,
    lacks_target,
    look_again_seconds,
    prove,
)
from gemma_operator.kube.cluster import Cluster
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.resources.adapters import adapter_paths
from gemma_operator.resources.autoscaling import Arrangement
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.eviction import eviction_marks
from gemma_operator.resources.gatewayapi import gateway_objects
from gemma_operator.resources.persistentvolumeclaim import shared_claims
from gemma_operator.resources.room import room_for
from gemma_operator.resources.scrape import scrape_marks
from gemma_operator.resources.step import next_step
from gemma_operator.status.adapters import PodAdapters
from gemma_operator.status.conditions import Status, interrupted_status, next_status, transitions
from gemma_operator.status.observed import Observed, observe
from gemma_operator.status.weights import running_fetch

Clock = Callable[[], str]
"""The time, RFC 3339 UTC in seconds."""


async def reconcile(key: ObjectKey, cluster: Cluster, basis: Basis, clock: Clock) -> Picture | None:
    """Bring children and status of one GemmaDeployment where they should be; a second run writes nothing.

    A refusal applies nothing, so that an edit which cannot be served leaves what serves. Returns what it
    found and said, None for a resource that is gone. Raises ClusterError.
    """
    resource = cluster.resource(key)
    if resource is None or "deletionTimestamp" in resource["metadata"]:
        basis.adapters.forget(key)
        return None
    owner = owner_of(resource)
    spec = parse_spec(resource)
    outcome = spec if isinstance(spec, Refusal) else basis.plan(spec, cluster.nodes())
    readable = spec if isinstance(spec, GemmaDeploymentSpec) else None
    settled: Settled | None = None
    arrangement: Arrangement | None = None
    if readable is not None and isinstance(outcome, Plan):
        arrangement = arranged(owner, readable, outcome, (cluster, basis.settings), clock())
        rendered = desired_objects(owner, readable, outcome, basis.settings)
        rendered += gateway_objects(owner, basis.settings.gateway_api, cluster.serves)
        if arrangement is not None:
            rendered += arrangement.objects
        cluster.follow(key, shared_claims(rendered))
        settled = settle(owner, readable, rendered, _around(resource, cluster, basis, clock()))
        cluster.follow(key, shared_claims((*rendered, *settled.desired)))
        basis.turns.follow(key, settled.is_upgrading)
        settled = await bring_about(owner, resource, settled, cluster, arrangement)
        if settled is None:
            return None
        for marks in (scrape_marks, eviction_marks):
            for pod, metadata in marks(readable, cluster.children(key)):
                await cluster.mark(pod, metadata)
    state = None if settled is None else settled.state
    scaling = None
    if arrangement is not None:
        scaling = await prove(key, arrangement, cluster, basis.prover, basis.settings.scaling)
    observed = replace(
        _observe(owner, cluster.children(key), cluster.nodes()), rollout=state, scaling=scaling
    )
    plan = outcome if isinstance(outcome, Plan) else None
    fetch = None if plan is None else running_fetch(plan, observed)
    progress = await basis.fetches.look(key.namespace, fetch, cluster)
    told = await _adapters(key, plan, observed, cluster, basis)
    observed = replace(observed, progress=progress, adapters=told)
    following = next_status(
        readable, owner.generation, outcome, observed, resource.get("status", {}), clock()
    )
    await say(owner, resource, following, cluster, clock)
    otherwise = None if settled is None else settled.look_again_seconds
    spans = (
        look_again_seconds(arrangement, basis.prover.lasts_seconds(key), otherwise),
        None if fetch is None else PROGRESS_SECONDS,
        basis.adapters.again_in_seconds(key),
    )
    soon = min((span for span in spans if span is not None), default=None)
    return Picture(owner, readable, plan, observed, following, soon)


async def _adapters(
    key: ObjectKey, plan: Plan | None, observed: Observed, cluster: Cluster, basis: Basis
) -> tuple[PodAdapters, ...]:
    """Ask the pods of the plan in force, where it has adapters."""
    is_held = observed.rollout is not None and observed.rollout.pending is not None
    wanted = {} if plan is None or is_held else adapter_paths(plan)
    ready = {pod.name for pod in observed.pods if pod.is_current and pod.is_ready and not pod.is_terminating}
    children = cluster.children(key) if wanted else ()
    pods = [child for child in children if child["kind"] == "Pod" and child["metadata"]["name"] in ready]
    return await basis.adapters.look(key, wanted, pods)


def _observe(owner: Owner, children: Sequence[Manifest], nodes: Sequence[Manifest]) -> Observed:
    return observe(owner, children, [child for child in children if child["kind"] == "Event"], nodes)


def _around(resource: Manifest, cluster: Cluster, basis: Basis, now: str) -> Surroundings:
    key = object_key(resource)
    children = cluster.children(key)
    return Surroundings(
        children=children,
        observed=_observe(owner_of(resource), children, cluster.nodes()),
        plan_told=(resource.get("status") or {}).get("plan"),
        room=lambda pod: room_for(
            pod, cluster.nodes(), cluster.pods(), basis.settings.rollout.growable_pool_labels
        ),
        takes_turn=lambda: basis.turns.take(key),
        operator_version=__version__,
        now=now,
    )


def parse_spec(resource: Manifest) -> GemmaDeploymentSpec | Refusal:
    """The spec as this operator understands it; the API server may have checked it with another version."""
    try:
        return read_spec(resource)
    except SpecError as error:
        return Refusal(Reason.INVALID_SPEC, str(error))


async def bring_about(
    owner: Owner,
    resource: Manifest,
    settled: Settled,
    cluster: Cluster,
    arrangement: Arrangement | None = None,
) -> Settled | None:
    """Write what differs from what is desired. None if the GemmaDeployment turned out to be gone."""
    children = cluster.children(object_key(resource))
    present = {object_key(child): child for child in children}
    step = next_step(owner, children, settled.desired, settled.keep)
    wanted = [stamped(manifest) for manifest in step.apply if not lacks_target(manifest, step, present)]
    outdated = [manifest for manifest in wanted if is_outdated(manifest, present.get(object_key(manifest)))]
    missing = any(object_key(manifest) not in present for manifest in outdated)
    if missing and resource.get("status") and not await cluster.confirm(resource):
        # Children go before the news that their owner went: making them again would leave orphans.
        return None
    # Two autoscalers of one Deployment stop each other, and KEDA's webhook refuses the second.
    for key in step.prune:
        if key.kind in AUTOSCALERS:
            await cluster.delete(key)
    for manifest in outdated:
        live = await hand_over(present.get(object_key(manifest)), manifest, arrangement, cluster)
        await cluster.apply(manifest, live)
    for key in step.prune:
        if key.kind not in AUTOSCALERS:
            await cluster.delete(key)
    for key in step.leave:
        await cluster.leave(key, owner.uid)
    return replace(settled, state=waiting_for_weights(settled.state)) if step.held else settled


async def say(owner: Owner, resource: Manifest, following: Status, cluster: Cluster, clock: Clock) -> None:
    """Write the status if it says anything new, and announce what changed."""
    said = resource.get("status", {})
    if following == said:
        return
    await cluster.apply_status(resource, following)
    for event in announcements(owner, transitions(said, following), clock()):
        await cluster.announce(event)


async def tell(key: ObjectKey, reason: Reason, message: str, cluster: Cluster, clock: Clock) -> None:
    """Say that reconciling failed, and why. Raises ClusterError."""
    resource = cluster.resource(key)
    if resource is None:
        return
    owner = owner_of(resource)
    following = interrupted_status(resource.get("status", {}), owner.generation, reason, message, clock())
    await say(owner, resource, following, cluster, clock)
