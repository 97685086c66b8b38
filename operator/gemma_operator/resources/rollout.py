"""How pods are replaced: a new one first, or the old one first. Pure; the sentence goes into the status."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gemma_operator.api.manifest import TEMPLATE_HASH_ANNOTATION, Manifest
from gemma_operator.api.v1alpha1 import AccessMode, Strategy
from gemma_operator.resources.room import Room, Space

GROWTH_SECONDS = 600
"""How long a surge pod waits for an autoscaler: nodes with accelerators take 2 to 5 min (facts in
vllm-project/vllm#41893), twice that where a pool has to be made."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`rollingUpdate` of a Deployment."""

    max_surge: int
    max_unavailable: int

    def manifest(self) -> Manifest:
        """As the Deployment holds it."""
        rolling = {"maxSurge": self.max_surge, "maxUnavailable": self.max_unavailable}
        return {"type": "RollingUpdate", "rollingUpdate": rolling}


SURGE = Pace(1, 0)
IN_PLACE = Pace(0, 1)
SURGE_OVER_BROKEN = Pace(1, 1)
"""For whoever insists on a surge: with nothing serving, a broken pod may go without a successor."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What there is to decide from."""

    strategy: Strategy
    serving: int
    """Pods that take requests, of whatever template."""
    pace: Pace | None
    """Of the live Deployment; None without one."""
    is_new: bool
    """Whether the Deployment is about to get another template."""
    is_replacing: bool
    """Whether pods of an older template are there."""
    obstacle: str | None = None
    """Why a pod of the new template cannot be placed, in the scheduler's or the kubelet's words."""
    waited_seconds: float = 0.0
    """Since that pod was made."""
    claim: str | None = None
    """What old pods and new ones both mount, and only one node can."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The pace, and why."""

    pace: Pace
    sentence: str
    look_again_seconds: float | None = None
    """When time alone may change the answer."""


def decide(replacement: Replacement, room: Callable[[], Room]) -> Decision:
    """Choose the pace. Within one rollout it only ever turns from surge to in place, so it cannot flap."""
    if replacement.pace is not None and not replacement.is_new and not replacement.is_replacing:
        if replacement.strategy is Strategy.RECREATE:
            return Decision(IN_PLACE, "as strategy Recreate asks")
        return Decision(replacement.pace, "no pod has to be replaced")
    match replacement.strategy:
        case Strategy.RECREATE:
            return Decision(IN_PLACE, "pods are replaced in place, as strategy Recreate asks")
        case Strategy.SURGE:
            return _insisting(replacement)
        case Strategy.AUTO:
            return _adapting(replacement, room)


def _insisting(replacement: Replacement) -> Decision:
    stays = not replacement.is_new and replacement.pace == SURGE_OVER_BROKEN
    if replacement.pace is not None and (stays or replacement.serving == 0):
        return Decision(SURGE_OVER_BROKEN, "no pod served, so that old ones may go before new ones are ready")
    waiting = "" if replacement.obstacle is None else f"; it waits: {replacement.obstacle}"
    return Decision(SURGE, f"a new pod comes before an old one goes, as strategy Surge asks{waiting}")


def _adapting(replacement: Replacement, room: Callable[[], Room]) -> Decision:
    if replacement.pace is None:
        return Decision(SURGE, "the first pods replace none")
    if replacement.serving == 0:
        return Decision(IN_PLACE, "pods are replaced in place, because none serves that could be lost")
    if not replacement.is_new:
        return _going_on(replacement, replacement.pace, room)
    if replacement.claim is not None:
        cause = f"claim {replacement.claim} can be mounted by one node only, and a new one may be on another"
        return Decision(IN_PLACE, f"pods are replaced in place, because {cause}")
    found = room()
    if found.space is Space.FULL:
        return Decision(IN_PLACE, f"pods are replaced in place, because {found.sentence}")
    return Decision(SURGE, f"a new pod comes before an old one goes, because {found.sentence}")


def _going_on(replacement: Replacement, pace: Pace, room: Callable[[], Room]) -> Decision:
    if pace != SURGE:
        waiting = "" if replacement.obstacle is None else f"; a new one waits: {replacement.obstacle}"
        return Decision(IN_PLACE, f"pods are replaced in place{waiting}")
    if replacement.obstacle is None:
        return Decision(SURGE, "a new pod comes before an old one goes")
    rest, found = GROWTH_SECONDS - replacement.waited_seconds, room()
    if found.space is Space.GROWABLE and rest > 0:
        return Decision(SURGE, f"a new pod waits, and {found.sentence}: {replacement.obstacle}", rest)
    return Decision(
        IN_PLACE, f"pods are replaced in place, because a new one has no room: {replacement.obstacle}"
    )


def pace_of(deployment: Manifest) -> Pace | None:
    """The pace of a live Deployment; None for one that is no rolling update in whole pods."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge, unavailable = rolling.get("maxSurge"), rolling.get("maxUnavailable")
    if isinstance(surge, int) and isinstance(unavailable, int):
        return Pace(surge, unavailable)
    return None


def claim_of_one_node(live: Manifest, objects: Iterable[Manifest]) -> str | None:
    """The claim among the objects that pods of the live Deployment mount, new ones will, and one node can."""
    objects = tuple(objects)
    template = next(manifest for manifest in objects if manifest["kind"] == "Deployment")
    both = _mounted(live) & _mounted(template)
    claims = (manifest for manifest in objects if manifest["kind"] == "PersistentVolumeClaim")
    once = (claim for claim in claims if claim["spec"]["accessModes"] == [AccessMode.READ_WRITE_ONCE])
    return next((str(claim["metadata"]["name"]) for claim in once if claim["metadata"]["name"] in both), None)


def _mounted(deployment: Manifest) -> set[str]:
    volumes = deployment["spec"]["template"]["spec"].get("volumes") or ()
    return {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    }


def template_hash_of(deployment: Manifest) -> str | None:
    """Hash of the pod template that a Deployment was rendered with."""
    annotations: dict[str, str] = deployment["metadata"].get("annotations") or {}
    return annotations.get(TEMPLATE_HASH_ANNOTATION)
