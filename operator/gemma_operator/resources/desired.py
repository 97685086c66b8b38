"""Everything that should exist for one GemmaDeployment."""

from gemma_operator.api.manifest import Manifest, Owner
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.configmap import runtime_config_map
from gemma_operator.resources.deployment import deployment, desired_replicas
from gemma_operator.resources.job import weights_job
from gemma_operator.resources.networkpolicy import serving_network_policy, weights_network_policy
from gemma_operator.resources.persistentvolumeclaim import cache_claim
from gemma_operator.resources.poddisruptionbudget import pod_disruption_budget
from gemma_operator.resources.service import service
from gemma_operator.resources.serviceaccount import service_account
from gemma_operator.settings import OperatorSettings


def desired_objects(
    owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings
) -> tuple[Manifest, ...]:
    """All children, in an order in which each finds what it refers to."""
    return (
        service_account(owner),
        *_network_policies(owner, spec, plan, settings),
        *_weights_objects(owner, spec, plan, settings),
        runtime_config_map(owner, spec, plan, settings),
        service(owner),
        *((pod_disruption_budget(owner),) if desired_replicas(spec) > 1 else ()),
        deployment(owner, spec, plan, settings),
    )


def _network_policies(
    owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings
) -> tuple[Manifest, ...]:
    if not settings.network_policy.enabled:
        return ()
    serving = serving_network_policy(owner, spec, plan, settings)
    if spec.cache is None or not plan.weights.is_fetched:
        return (serving,)
    return (serving, weights_network_policy(owner, spec.cache, plan, settings))


def _weights_objects(
    owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings
) -> tuple[Manifest, ...]:
    if spec.cache is None or not plan.weights.is_fetched:
        return ()
    job = weights_job(owner, spec.cache, plan, settings)
    if spec.cache.claim_name is not None:
        return (job,)
    return (cache_claim(owner, spec.cache, plan), job)
