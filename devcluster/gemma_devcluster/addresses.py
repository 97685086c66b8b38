"""The addresses and names of a cluster, all derived from its index.

A cluster owns one /16, `10.(BASE + index).0.0`: a link between the host and the cluster's machine, the
pods and the Services. No two clusters share an address, and the host needs one route per cluster.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from gemma_devcluster.errors import DevclusterError

# 10.208/12 is rarely taken by home routers, VPNs or the defaults of kind, k3s, flannel, calico and docker.
FIRST_SECOND_OCTET = 208
MAX_CLUSTERS = 16
API_SERVER_PORT = 6443
# Further nodes share the machine and its address, so their kubelets differ by port.
KUBELET_PORT = 10250
KUBELET_HEALTH_PORT = 10350
CLUSTER_DOMAIN = "cluster.local"
# Resolves in pods to the host's end of the link: how a pod reaches a server on this machine.
HOST_NAME = "host.devcluster.internal"


@dataclass(frozen=True)
class Addresses:
    """Where everything of cluster number `index` is."""

    index: int

    @property
    def network(self) -> IPv4Network:
        """All of the cluster's addresses; the host routes them through the link."""
        return IPv4Network(f"10.{FIRST_SECOND_OCTET + self.index}.0.0/16")

    @property
    def link(self) -> IPv4Network:
        """The veth pair between the host and the machine."""
        return IPv4Network(f"{self.network.network_address}/30")

    @property
    def host(self) -> IPv4Address:
        """The host's end of the link: where pods find servers of this machine."""
        return self.link[1]

    @property
    def machine(self) -> IPv4Address:
        """The address of every node, the API server and NodePorts."""
        return self.link[2]

    @property
    def pods(self) -> IPv4Network:
        """Pod addresses of all nodes."""
        return IPv4Network(f"{self.network.network_address + 0x4000}/18")

    @property
    def services(self) -> IPv4Network:
        """Cluster IPs."""
        return IPv4Network(f"{self.network.network_address + 0x8000}/20")

    @property
    def api_service(self) -> IPv4Address:
        """Cluster IP of `kubernetes.default`; the API server always takes the first."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """Cluster IP of `kube-dns.kube-system`, the tenth by custom."""
        return self.services[10]

    @property
    def api_server_url(self) -> str:
        """The API server as host, machine and pods reach it."""
        return f"https://{self.machine}:{API_SERVER_PORT}"

    @property
    def host_link(self) -> str:
        """The host's network interface; at most 15 characters, the kernel's limit."""
        return f"gdc-{self.index}"


def first_free_index(taken: Iterable[int], routes: Iterable[IPv4Network]) -> int:
    """The smallest index that no other cluster has and whose network no route of this machine overlaps.

    Raises:
        DevclusterError: all are taken.
    """
    taken, routes = set(taken), list(routes)
    for index in range(MAX_CLUSTERS):
        network = Addresses(index).network
        if index not in taken and not any(network.overlaps(route) for route in routes):
            return index
    span = ipaddress.ip_network(f"10.{FIRST_SECOND_OCTET}.0.0/12")
    raise DevclusterError(
        f"needs one free /16 in {span} for a new cluster, and clusters or routes of this machine hold all "
        f"{MAX_CLUSTERS}; remove a cluster with `devcluster down --name NAME`"
    )
