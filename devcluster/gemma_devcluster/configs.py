"""The components' configuration files, as values; comments name the trap an unusual line avoids."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from gemma_devcluster.addresses import CLUSTER_DOMAIN, HOST_NAME, Addresses
from gemma_devcluster.layout import Layout
from gemma_devcluster.nodes import GPU_TAINT, Node
from gemma_devcluster.pki import CLUSTER_CA

CNI_PLUGINS = "/usr/lib/cni"
POD_BRIDGE = "cni0"
MAX_PODS = 110


def kubelet(node: Node, layout: Layout, addresses: Addresses) -> str:
    """A node's KubeletConfiguration."""
    certificate = layout.pki / f"kubelet-{node.name}"
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": str(addresses.machine),
            "port": node.kubelet_port,
            "healthzPort": node.health_port,
            "tlsCertFile": f"{certificate}.crt",
            "tlsPrivateKeyFile": f"{certificate}.key",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{layout.pki / CLUSTER_CA}.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{node.runtime_socket}",
            # kubelet >= 1.35 refuses cgroup v1 unless told; cgroupfs because there may be no systemd.
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": node.cgroup,
            # Without CAP_SYS_RESOURCE a process may not lower its own oom_score_adj.
            "oomScoreAdj": 0,
            "failSwapOn": False,
            "clusterDNS": [str(addresses.dns_service)],
            "clusterDomain": CLUSTER_DOMAIN,
            "resolvConf": str(layout.configs / "resolv.conf"),
            "maxPods": MAX_PODS,
            # How long a changed ConfigMap or Secret takes to reach a running pod, at most; 1m by default.
            "syncFrequency": "10s",
            "podLogsDir": str(layout.logs / "pods" / node.name),
            "volumePluginDir": f"{node.kubelet_root(layout)}/volume-plugins",
            # Images are loaded by hand and cannot be pulled again: never collect them.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
                "imagefs.inodesFree": "1%",
            },
            "registerNode": True,
            "registerWithTaints": [GPU_TAINT] if node.accelerator else [],
        }
    )


def kube_proxy(layout: Layout, addresses: Addresses, node: Node) -> str:
    """The KubeProxyConfiguration."""
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(layout.component_kubeconfig("kube-proxy"))},
            "hostnameOverride": node.name,
            "bindAddress": str(addresses.machine),
            "mode": "iptables",
            "clusterCIDR": str(addresses.pods),
            # A Service works as soon as its first pod is Ready, not up to a second later.
            "iptables": {"minSyncPeriod": "0s"},
            # Zero leaves these sysctls alone: they are read-only in a network namespace.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "oomScoreAdj": 0,
        }
    )


def containerd(node: Node, layout: Layout, binaries: Path, sandbox_image: str) -> str:
    """containerd's TOML: state in the cluster's folder, sockets in the machine's private /run."""
    plugin = "plugins.'io.containerd"
    return f"""\
version = 3
root = '{node.content(layout)}'
state = '{node.runtime_folder}'

[grpc]
  address = '{node.runtime_socket}'

[{plugin}.cri.v1.images']
  snapshotter = 'overlayfs'
  # Built here and imported: the machine has no registry.
  [{plugin}.cri.v1.images'.pinned_images]
    sandbox = '{sandbox_image}'

[{plugin}.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE the sandbox may not be given -998: clamp to what the kernel allows.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  [{plugin}.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [{plugin}.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [{plugin}.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '{binaries / "runc"}'
        SystemdCgroup = false
  [{plugin}.cri.v1.runtime'.cni]
    bin_dirs = ['{CNI_PLUGINS}']
    conf_dir = '{layout.configs / "cni"}'

[{plugin}.nri.v1.nri']
  disable = true

[{plugin}.internal.v1.opt']
  path = '{node.content(layout)}-opt'
"""


def cni(addresses: Addresses) -> str:
    """The pods' network: one bridge, no masquerading, so that nothing leaves the machine."""
    bridge = {
        "type": "bridge",
        "bridge": POD_BRIDGE,
        "isDefaultGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(addresses.pods)}]],
            "dataDir": "/run/cni-addresses",
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "1.0.0", "name": "devcluster", "plugins": plugins}, indent=2)


def audit_policy() -> str:
    """One line per request, without bodies."""
    return _yaml(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            # One line per request, written when it is answered; a watch is written when it ends.
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        }
    )


def corefile(addresses: Addresses) -> str:
    """CoreDNS: the cluster's names, this machine's name, and a quick NXDOMAIN for the rest of the world.

    A block for each, because `template` answers before `kubernetes` and `hosts` within one.
    """
    return f"""\
{CLUSTER_DOMAIN}:53 in-addr.arpa:53 {{
    errors
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
        pods insecure
        ttl 5
    }}
    cache 5
}}
{HOST_NAME}:53 {{
    errors
    hosts {{
        {addresses.host} {HOST_NAME}
    }}
}}
.:53 {{
    errors
    health :8081
    ready :8181
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def shared(layout: Layout, addresses: Addresses) -> Mapping[Path, str]:
    """The files that do not belong to one node."""
    return {
        layout.configs / "audit-policy.yaml": audit_policy(),
        layout.configs / "cni" / "10-devcluster.conflist": cni(addresses),
        layout.configs / "resolv.conf": "# Pods ask CoreDNS; nothing beyond this machine is reachable.\n",
    }


def _yaml(content: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False)
