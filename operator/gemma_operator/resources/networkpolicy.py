"""NetworkPolicies: two ports in, DNS out, and the hub only for pods that fetch weights."""

from gemma_operator.api.manifest import SERVING, WEIGHTS, Manifest, Owner, selector_labels, short_name
from gemma_operator.api.v1alpha1 import CacheSpec, GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.egress import egress_ports, identity_egress
from gemma_operator.resources.fetch import fetch_ports
from gemma_operator.resources.layout import ADMIN_PORT, API_PORT, object_metadata
from gemma_operator.resources.media import media_egress
from gemma_operator.resources.persistentvolumeclaim import fetching_pods
from gemma_operator.resources.protection import protection_egress
from gemma_operator.resources.tracing import tracing_egress
from gemma_operator.settings import OperatorSettings

DNS_PORT = 53


def serving_network_policy(
    owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings
) -> Manifest:
    """`NAME`: the API and the admin port are reachable; pods reach DNS, and the hub only without a cache."""
    egress = [_dns(settings)]
    if spec.cache is None and plan.fetched:
        egress += _sources(plan, settings)
    egress += protection_egress(spec) + media_egress(spec) + tracing_egress(settings)
    ports = [{"port": port, "protocol": "TCP"} for port in (API_PORT, ADMIN_PORT)]
    rules: Manifest = {"ingress": [{"ports": ports}], "egress": egress}
    metadata = object_metadata(owner, short_name(owner.name), SERVING)
    return _policy(metadata, selector_labels(owner, SERVING), rules)


def weights_network_policy(
    owner: Owner, cache: CacheSpec, plan: Plan, settings: OperatorSettings
) -> Manifest:
    """`NAME-weights`: the fetching pod reaches DNS and the hub; nothing reaches it.

    Each user of a shared claim brings its own: policies add up, and go with whoever brought them.
    """
    rules: Manifest = {"ingress": [], "egress": [_dns(settings), *_sources(plan, settings)]}
    metadata = object_metadata(owner, short_name(owner.name, WEIGHTS), WEIGHTS)
    return _policy(metadata, fetching_pods(owner, cache, plan), rules)


def _policy(metadata: Manifest, pods: dict[str, str], rules: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": pods},
            "policyTypes": ["Ingress", "Egress"],
            **rules,
        },
    }


def _dns(settings: OperatorSettings) -> Manifest:
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": settings.network_policy.dns_namespace}}
    return {
        "to": [{"namespaceSelector": namespace}],
        "ports": [{"port": DNS_PORT, "protocol": protocol} for protocol in ("UDP", "TCP")],
    }


def _sources(plan: Plan, settings: OperatorSettings) -> list[Manifest]:
    """Hubs and stores by port only: they and their content networks have no fixed addresses."""
    ports = egress_ports(fetch_ports(plan, settings), settings)
    return [*identity_egress(plan), {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}]
