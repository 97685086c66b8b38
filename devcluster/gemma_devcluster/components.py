"""The processes of a cluster and their command lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster.addresses import API_SERVER_PORT, CLUSTER_DOMAIN, Addresses
from gemma_devcluster.builder import Binaries
from gemma_devcluster.layout import Layout
from gemma_devcluster.nodes import Node
from gemma_devcluster.pki import CLUSTER_CA, FRONT_PROXY_CA, SERVICE_ACCOUNT_KEY

ETCD_URL = "http://127.0.0.1:2379"
AUDIT_LOG_MEGABYTES = 500


@dataclass(frozen=True)
class Component:
    """One long-running process: its name (of log and process file) and command line."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class ComponentFactory:
    """Builds command lines; all of a cluster's components see the same programs, files and addresses."""

    binaries: Binaries
    layout: Layout
    addresses: Addresses

    def _command(self, program: str, **flags: object) -> list[str]:
        rendered = [f"--{name.replace('_', '-')}={_value(value)}" for name, value in flags.items()]
        return [str(self.binaries.path(program)), *rendered]

    def _pki(self, file: str) -> Path:
        return self.layout.pki / file

    def etcd(self) -> Component:
        """The store; on the loopback of the machine, which nothing outside it reaches."""
        command = self._command(
            "etcd",
            data_dir=self.layout.etcd,
            listen_client_urls=ETCD_URL,
            advertise_client_urls=ETCD_URL,
            # etcd 3.6 serves peers even alone; port 0 is not accepted.
            listen_peer_urls="http://127.0.0.1:2380",
            initial_advertise_peer_urls="http://127.0.0.1:2380",
            initial_cluster="default=http://127.0.0.1:2380",
            # A development cluster may lose its last second in a power cut; it may not wait for the disk.
            unsafe_no_fsync=True,
            logger="zap",
        )
        return Component("etcd", command)

    def api_server(self) -> Component:
        """The API server, with the audit log and everything an aggregated API needs."""
        command = self._command(
            "kube-apiserver",
            etcd_servers=ETCD_URL,
            advertise_address=self.addresses.machine,
            bind_address="0.0.0.0",
            secure_port=API_SERVER_PORT,
            service_cluster_ip_range=self.addresses.services,
            tls_cert_file=self._pki("apiserver.crt"),
            tls_private_key_file=self._pki("apiserver.key"),
            client_ca_file=self._pki(f"{CLUSTER_CA}.crt"),
            kubelet_certificate_authority=self._pki(f"{CLUSTER_CA}.crt"),
            kubelet_client_certificate=self._pki("apiserver-kubelet-client.crt"),
            kubelet_client_key=self._pki("apiserver-kubelet-client.key"),
            # exec and logs: node names do not resolve on this machine.
            kubelet_preferred_address_types="InternalIP",
            authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction",
            allow_privileged=True,
            service_account_issuer=f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            service_account_key_file=self._pki(f"{SERVICE_ACCOUNT_KEY}.pub"),
            service_account_signing_key_file=self._pki(f"{SERVICE_ACCOUNT_KEY}.key"),
            requestheader_client_ca_file=self._pki(f"{FRONT_PROXY_CA}.crt"),
            requestheader_allowed_names="front-proxy-client",
            requestheader_extra_headers_prefix="X-Remote-Extra-",
            requestheader_group_headers="X-Remote-Group",
            requestheader_username_headers="X-Remote-User",
            proxy_client_cert_file=self._pki("front-proxy-client.crt"),
            proxy_client_key_file=self._pki("front-proxy-client.key"),
            enable_aggregator_routing=True,
            audit_policy_file=self.layout.configs / "audit-policy.yaml",
            audit_log_path=self.layout.audit_log,
            audit_log_maxsize=AUDIT_LOG_MEGABYTES,
            audit_log_maxbackup=1,
        )
        return Component("kube-apiserver", command)

    def controller_manager(self) -> Component:
        """All controllers, without leader election: there is one."""
        kubeconfig = self.layout.component_kubeconfig("controller-manager")
        command = self._command(
            "kube-controller-manager",
            kubeconfig=kubeconfig,
            authentication_kubeconfig=kubeconfig,
            authorization_kubeconfig=kubeconfig,
            bind_address="127.0.0.1",
            leader_elect=False,
            use_service_account_credentials=True,
            root_ca_file=self._pki(f"{CLUSTER_CA}.crt"),
            service_account_private_key_file=self._pki(f"{SERVICE_ACCOUNT_KEY}.key"),
            cluster_signing_cert_file=self._pki(f"{CLUSTER_CA}.crt"),
            cluster_signing_key_file=self._pki(f"{CLUSTER_CA}.key"),
            requestheader_client_ca_file=self._pki(f"{FRONT_PROXY_CA}.crt"),
        )
        return Component("kube-controller-manager", command)

    def scheduler(self) -> Component:
        """The scheduler, without leader election: there is one."""
        kubeconfig = self.layout.component_kubeconfig("scheduler")
        command = self._command(
            "kube-scheduler",
            kubeconfig=kubeconfig,
            authentication_kubeconfig=kubeconfig,
            authorization_kubeconfig=kubeconfig,
            bind_address="127.0.0.1",
            leader_elect=False,
        )
        return Component("kube-scheduler", command)

    def containerd(self, node: Node) -> Component:
        """A node's container runtime."""
        command = self._command("containerd", config=self.layout.configs / f"containerd-{node.name}.toml")
        return Component(f"containerd-{node.name}", command)

    def kubelet(self, node: Node) -> Component:
        """A node's agent."""
        command = self._command(
            "kubelet",
            config=self.layout.configs / f"kubelet-{node.name}.yaml",
            kubeconfig=self.layout.component_kubeconfig(f"kubelet-{node.name}"),
            root_dir=node.kubelet_root(self.layout),
            hostname_override=node.name,
            node_ip=self.addresses.machine,
        )
        return Component(f"kubelet-{node.name}", command)

    def kube_proxy(self) -> Component:
        """Services, by iptables. One is enough: all nodes share the network namespace."""
        return Component(
            "kube-proxy", self._command("kube-proxy", config=self.layout.configs / "kube-proxy.yaml")
        )

    def kube_router(self, node: Node) -> Component:
        """NetworkPolicies only. One is enough: it filters pods by their node's address, and all share it."""
        command = self._command(
            "kube-router",
            kubeconfig=self.layout.component_kubeconfig("kube-router"),
            hostname_override=node.name,
            run_firewall=True,
            run_router=False,
            run_service_proxy=False,
            service_cluster_ip_range=self.addresses.services,
            health_port=0,
        )
        return Component("kube-router", command)

    def provisioner(self) -> Component:
        """PersistentVolumes of the default StorageClass."""
        kubeconfig = self.layout.component_kubeconfig("provisioner")
        return Component(
            "provisioner", self._command("provisioner", kubeconfig=kubeconfig, root=self.layout.volumes)
        )


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
