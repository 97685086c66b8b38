"""What becomes of `spec.scaling` in one reconcile: objects, the hand-over of `replicas`, and the proof."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gemma_operator.api.manifest import Manifest, ObjectKey, Owner, object_key
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.controller.metric_source import FrontDoor, MetricSource, PrometheusSource
from gemma_operator.kube.cluster import Cluster
from gemma_operator.kube.kinds import AUTOSCALING_METRIC, HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.autoscaling import (
    Arrangement,
    Backend,
    Moment,
    Offers,
    arrangement_for,
)
from gemma_operator.resources.step import Step
from gemma_operator.settings import OperatorSettings, ScalingSettings
from gemma_operator.status.scaling import GRACE_SECONDS, Reading, ScalingState, is_failing

PROOF_SECONDS = 20.0
"""Between two looks at the metric source, per endpoint: a fault is told of within a minute."""
RETRY_SECONDS = 5.0
"""The same after a look that failed: within GRACE_SECONDS there are four."""
AUTOSCALERS = (SCALED_OBJECT.name, HORIZONTAL_POD_AUTOSCALER.name)


@dataclass(slots=True)
class _Proof:
    at: float
    queries: tuple[str, ...]
    readings: tuple[Reading, ...]


@dataclass(slots=True)
class Prover:
    """Asks metric sources, and remembers for PROOF_SECONDS what they said."""

    clock: Callable[[], float] = time.monotonic
    _proofs: dict[ObjectKey, _Proof] = field(default_factory=dict)
    _failing_since: dict[ObjectKey, float] = field(default_factory=dict)

    async def readings(
        self, key: ObjectKey, arrangement: Arrangement, settings: ScalingSettings
    ) -> tuple[Reading, ...]:
        """One for each number that the autoscaler reads; empty where there is no source to ask."""
        source = _source(arrangement, settings)
        if source is None:
            return ()
        asked = arrangement.sources.sources
        if arrangement.choice.backend is Backend.KEDA_FRONT_DOOR:
            asked = tuple(each for each in asked if each.name in ("running", "waiting"))
        queries, now = tuple(each.query for each in asked), self.clock()
        known = self._proofs.get(key)
        if known is not None and known.queries == queries and now - known.at < self.lasts_seconds(key):
            return known.readings
        readings = tuple(await asyncio.gather(*(source.read(each) for each in asked)))
        self._proofs[key] = _Proof(now, queries, readings)
        return readings

    def failing_seconds(self, key: ObjectKey, fails: bool) -> float:
        """For how long it has failed, told each time whether it does."""
        if not fails:
            self._failing_since.pop(key, None)
            return 0.0
        now = self.clock()
        return now - self._failing_since.setdefault(key, now)

    def lasts_seconds(self, key: ObjectKey) -> float:
        """Until the next look: soon, while what fails may still be one slow answer."""
        since = self._failing_since.get(key)
        is_fresh = since is not None and self.clock() - since < GRACE_SECONDS
        return RETRY_SECONDS if is_fresh else PROOF_SECONDS

    def forget(self, key: ObjectKey) -> None:
        """The endpoint is gone, or no longer scaled."""
        self._proofs.pop(key, None)
        self._failing_since.pop(key, None)


def _source(arrangement: Arrangement, settings: ScalingSettings) -> MetricSource | None:
    if arrangement.choice.backend is None:
        return None
    if arrangement.choice.backend is Backend.KEDA_FRONT_DOOR and settings.front_door_url is not None:
        return FrontDoor(settings.front_door_url)
    return None if settings.prometheus_url is None else PrometheusSource(settings.prometheus_url)


def arranged(
    owner: Owner,
    spec: GemmaDeploymentSpec,
    plan: Plan,
    world: tuple[Cluster, OperatorSettings],
    now: str,
) -> Arrangement | None:
    """How it is scaled now."""
    cluster, settings = world
    offers = Offers(cluster.serves(SCALED_OBJECT.name), cluster.serves(AUTOSCALING_METRIC.name))
    return arrangement_for(owner, spec, plan, settings, Moment(datetime.fromisoformat(now), offers))


async def prove(
    key: ObjectKey, arrangement: Arrangement, cluster: Cluster, prover: Prover, settings: ScalingSettings
) -> ScalingState:
    """What the verdict ScalingActive rests on."""
    backend = arrangement.choice.backend
    readings = await prover.readings(key, arrangement, settings)
    autoscalers = tuple(_autoscalers(cluster.children(key)))
    place = (
        f"the front door at {settings.front_door_url}"
        if backend is Backend.KEDA_FRONT_DOOR
        else f"Prometheus at {settings.prometheus_url}"
    )
    schedule = arrangement.bounds.schedule
    told = "" if schedule is None else f"; schedule {schedule} is in force"
    return ScalingState(
        is_arranged=backend is not None,
        sentence=f"{arrangement.choice.sentence}{told}",
        place=place,
        most=arrangement.bounds.most,
        may_be_zero=arrangement.bounds.least == 0,
        readings=readings,
        autoscalers=autoscalers,
        failing_seconds=prover.failing_seconds(key, is_failing(readings, autoscalers)),
    )


def look_again_seconds(
    arrangement: Arrangement | None, proof_seconds: float, otherwise: float | None
) -> float | None:
    """Proofs grow old, and schedules begin."""
    if arrangement is None:
        return otherwise
    times = (proof_seconds, arrangement.bounds.changes_in_seconds, otherwise)
    return max(1.0, min(each for each in times if each is not None))


def _autoscalers(children: Sequence[Manifest]) -> list[Manifest]:
    found = [child for child in children if child["kind"] in AUTOSCALERS]
    return sorted(found, key=lambda child: AUTOSCALERS.index(child["kind"]))


def lacks_target(manifest: Manifest, step: Step, present: Collection[ObjectKey]) -> bool:
    """Whether it is an autoscaler whose Deployment waits for weights and has never been made.

    KEDA looks for the target of a ScaledObject when it is made, and then again after ever longer pauses, up
    to 17 minutes (controller-runtime's back-off): it would come late, and complain until then.
    """
    if manifest["kind"] not in AUTOSCALERS:
        return False
    return any(held["kind"] == "Deployment" and object_key(held) not in present for held in step.held)


async def hand_over(
    live: Manifest | None, wanted: Manifest, arrangement: Arrangement | None, cluster: Cluster
) -> Manifest | None:
    """Before `replicas` is left out of a Deployment: let go of it, at the number there is.

    After a suspension that number is 0, from which no HPA comes back: then it is the lower bound.
    """
    if live is None or wanted["kind"] != "Deployment" or "replicas" in wanted["spec"]:
        return live
    present = int(live["spec"].get("replicas", 1))
    least = 0 if arrangement is None else arrangement.bounds.least
    return await cluster.release_replicas(live, present or least)
