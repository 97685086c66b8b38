"""The corridor: spec → plan → manifests → apply → observe → conditions. Each arrow is one function."""

from collections.abc import Callable, Sequence

from gemma_operator.api.manifest import Manifest, ObjectKey, Owner, object_key, owner_of
from gemma_operator.api.read import SpecError, read_spec
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.controller.announcements import announcements
from gemma_operator.controller.basis import Basis
from gemma_operator.controller.drift import is_outdated, stamped
from gemma_operator.controller.endpoints import Picture
from gemma_operator.kube.cluster import Cluster
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.step import next_step
from gemma_operator.status.conditions import Status, interrupted_status, next_status, transitions
from gemma_operator.status.observed import observe

Clock = Callable[[], str]
"""The time, RFC 3339 UTC in seconds."""


async def reconcile(key: ObjectKey, cluster: Cluster, basis: Basis, clock: Clock) -> Picture | None:
    """Bring children and status of one GemmaDeployment where they should be; a second run writes nothing.

    A refusal applies nothing, so that an edit which cannot be served leaves what serves. Returns what it
    found and said, None for a resource that is gone. Raises ClusterError.
    """
    resource = cluster.resource(key)
    if resource is None or "deletionTimestamp" in resource["metadata"]:
        return None
    owner = owner_of(resource)
    spec = parse_spec(resource)
    outcome = spec if isinstance(spec, Refusal) else basis.plan(spec, cluster.nodes())
    if isinstance(spec, GemmaDeploymentSpec) and isinstance(outcome, Plan):
        desired = desired_objects(owner, spec, outcome, basis.settings)
        if not await bring_about(owner, resource, desired, cluster):
            return None
    children = cluster.children(key)
    observed = observe(owner, children, [child for child in children if child["kind"] == "Event"])
    said = resource.get("status", {})
    following = next_status(
        spec if isinstance(spec, GemmaDeploymentSpec) else None,
        owner.generation,
        outcome,
        observed,
        said,
        clock(),
    )
    await say(owner, resource, following, cluster, clock)
    return Picture(
        owner,
        spec if isinstance(spec, GemmaDeploymentSpec) else None,
        outcome if isinstance(outcome, Plan) else None,
        observed,
        following,
    )


def parse_spec(resource: Manifest) -> GemmaDeploymentSpec | Refusal:
    """The spec as this operator understands it; the API server may have checked it with another version."""
    try:
        return read_spec(resource)
    except SpecError as error:
        return Refusal(Reason.INVALID_SPEC, str(error))


async def bring_about(
    owner: Owner, resource: Manifest, desired: Sequence[Manifest], cluster: Cluster
) -> bool:
    """Write what differs from what is desired. False if the GemmaDeployment turned out to be gone."""
    children = cluster.children(object_key(resource))
    present = {object_key(child): child for child in children}
    step = next_step(owner, children, desired)
    wanted = [stamped(manifest) for manifest in step.apply]
    outdated = [manifest for manifest in wanted if is_outdated(manifest, present.get(object_key(manifest)))]
    missing = any(object_key(manifest) not in present for manifest in outdated)
    if missing and resource.get("status") and not await cluster.confirm(resource):
        # Children go before the news that their owner went: making them again would leave orphans.
        return False
    for manifest in outdated:
        await cluster.apply(manifest, present.get(object_key(manifest)))
    for key in step.prune:
        await cluster.delete(key)
    return True


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
