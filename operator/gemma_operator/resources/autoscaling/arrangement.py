"""How one endpoint is scaled right now: by what, within which bounds, on which numbers. Pure."""

from dataclasses import dataclass
from datetime import datetime

from gemma_operator.api.manifest import Manifest, Owner
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, ScalingSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.autoscaling.backend import AutoscalingChoice, Offers, choose_backend
from gemma_operator.resources.autoscaling.bounds import Bounds, bounds_at
from gemma_operator.resources.autoscaling.objects import autoscaling_objects
from gemma_operator.resources.autoscaling.signals import Sources, sources_for
from gemma_operator.settings import OperatorSettings


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What `spec.scaling` comes to."""

    scaling: ScalingSpec
    choice: AutoscalingChoice
    bounds: Bounds
    sources: Sources
    objects: tuple[Manifest, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is now: the time, and what the cluster offers."""

    now: datetime
    offers: Offers


def arrangement_for(
    owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings, moment: Moment
) -> Arrangement | None:
    """None where replicas are a fixed number, or the endpoint is suspended."""
    scaling = spec.scaling
    if scaling is None or spec.suspend:
        return None
    choice = choose_backend(scaling, moment.offers, settings.scaling)
    bounds = bounds_at(scaling, moment.now)
    sources = sources_for(owner, spec, scaling, plan)
    if choice.backend is None:
        return Arrangement(scaling, choice, bounds, sources, ())
    objects = autoscaling_objects(owner, scaling, sources, bounds, (choice.backend, settings.scaling))
    return Arrangement(scaling, choice, bounds, sources, objects)
