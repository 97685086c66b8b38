"""How whatever fetches weights gets out of a cluster with a proxy and authorities of its own."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from gemma_operator.api.manifest import Manifest
from gemma_operator.planning.origin import BucketOrigin
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.containers import mount, variable
from gemma_operator.settings import OperatorSettings

BUNDLE_VOLUME, BUNDLE_FOLDER = "ca-bundle", "/etc/gemma-ca"

_DEFAULT_PORTS = {"https": 443, "http": 80}
_IDENTITY_SERVERS = {
    # GKE's metadata server, with and without Dataplane V2 (Workload Identity, "network policies").
    "gs": (("169.254.169.252/32", 988), ("169.254.169.254/32", 80)),
    # The agent of EKS Pod Identity. IRSA asks AWS itself.
    "s3": (("169.254.170.23/32", 80),),
}
"""Scheme of a bucket → where a node answers for the identity of its pods: link-local address and port."""


def port_of(url: str) -> int:
    """Port of a URL."""
    parts = urlsplit(url)
    return parts.port or _DEFAULT_PORTS[parts.scheme]


def egress_ports(hub_ports: Sequence[int], settings: OperatorSettings) -> list[int]:
    """Ports that a fetch may reach: the proxy's, and a hub's where hosts are reached without it. Sorted."""
    egress = settings.egress
    if egress.proxy is None:
        return sorted(set(hub_ports))
    return sorted({port_of(egress.proxy), *(hub_ports if egress.no_proxy else ())})


def identity_egress(plan: Plan) -> list[Manifest]:
    """Egress rules towards what gives pods the identity that buckets know them by."""
    buckets = [weights.origin for weights in plan.fetched if isinstance(weights.origin, BucketOrigin)]
    # Whoever is given keys has no use for an identity.
    schemes = {urlsplit(bucket.uri).scheme for bucket in buckets if not bucket.credentials_secret_name}
    return [
        {"to": [{"ipBlock": {"cidr": address}}], "ports": [{"port": port, "protocol": "TCP"}]}
        for scheme in sorted(schemes)
        for address, port in _IDENTITY_SERVERS[scheme]
    ]


def egress_variables(settings: OperatorSettings) -> list[Manifest]:
    """Environment of a container that fetches; the names that its HTTP client reads."""
    egress = settings.egress
    variables = []
    if egress.proxy is not None:
        variables += [variable("HTTP_PROXY", egress.proxy), variable("HTTPS_PROXY", egress.proxy)]
        if egress.no_proxy:
            variables.append(variable("NO_PROXY", egress.no_proxy))
    if egress.ca_bundle is not None:
        variables.append(variable("SSL_CERT_FILE", f"{BUNDLE_FOLDER}/{egress.ca_bundle.key}"))
    return variables


def bundle_volumes(settings: OperatorSettings) -> list[Manifest]:
    """The volume with the authorities to trust, where the settings name any."""
    bundle = settings.egress.ca_bundle
    return [] if bundle is None else [{"name": BUNDLE_VOLUME, "configMap": {"name": bundle.config_map}}]


def bundle_mounts(settings: OperatorSettings) -> list[Manifest]:
    """Where a container that fetches finds them."""
    return [mount(v["name"], BUNDLE_FOLDER, read_only=True) for v in bundle_volumes(settings)]
