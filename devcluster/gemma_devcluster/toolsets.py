"""The programs a cluster is made of: which Go module each comes from, and how it is built.

Versions live in `tools/<set>/go.mod` alone. Each set has its own module because their dependencies disagree.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gemma_devcluster.errors import DevclusterError

TOOLS_ROOT = Path(__file__).resolve().parents[1] / "tools"


@dataclass(frozen=True, eq=False)
class ToolSet:
    """Programs built from one Go module.

    Attributes:
        name: folder under `tools/`.
        packages: program name to Go package.
        expected_seconds: about how long a cold build takes on 2 cores (2026-11); only shown, never awaited.
        version_module: module whose pinned version the programs report.
        version_variables: linker variable to value; `{version}`, `{major}` and `{minor}` come from the pin.
        tags: Go build tags.
        uses_cgo: everything else is linked statically.
        root: folder of all tool sets.
    """

    name: str
    packages: Mapping[str, str]
    expected_seconds: int
    version_module: str = ""
    version_variables: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    uses_cgo: bool = False
    root: Path = TOOLS_ROOT

    @property
    def folder(self) -> Path:
        """Where its go.mod lies."""
        return self.root / self.name


_KUBERNETES = "k8s.io/kubernetes/cmd"
_KUBERNETES_VERSION = "k8s.io/component-base/version"
_CONTAINERD = "github.com/containerd/containerd/v2"
_NODE = "gemma-operator.dev/devcluster/tools/node"
_KEDA = "github.com/kedacore/keda/v2"
_COMMON_VERSION = "github.com/prometheus/common/version.Version"

# Longest first, more or less: the last builds should be short.
TOOL_SETS: tuple[ToolSet, ...] = (
    ToolSet(
        name="kubernetes",
        packages={
            name: f"{_KUBERNETES}/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        },
        expected_seconds=276,
        version_module="k8s.io/kubernetes",
        version_variables={
            f"{_KUBERNETES_VERSION}.gitVersion": "v{version}",
            f"{_KUBERNETES_VERSION}.gitMajor": "{major}",
            f"{_KUBERNETES_VERSION}.gitMinor": "{minor}",
            # What client-go puts into the User-Agent, by which the audit log tells callers apart.
            "k8s.io/client-go/pkg/version.gitVersion": "v{version}",
        },
    ),
    ToolSet(
        name="promtool",
        packages={"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
        expected_seconds=238,
        version_module="github.com/prometheus/prometheus",
        version_variables={_COMMON_VERSION: "{version}"},
    ),
    ToolSet(
        name="coredns",
        packages={"coredns": "github.com/coredns/coredns"},
        expected_seconds=97,
    ),
    ToolSet(
        name="helm",
        packages={"helm": "helm.sh/helm/v4/cmd/helm"},
        expected_seconds=94,
        version_module="helm.sh/helm/v4",
        version_variables={"helm.sh/helm/v4/internal/version.version": "v{version}"},
    ),
    ToolSet(
        name="kube-router",
        packages={"kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"},
        expected_seconds=66,
        version_module="github.com/cloudnativelabs/kube-router/v2",
        version_variables={"github.com/cloudnativelabs/kube-router/v2/pkg/version.Version": "v{version}"},
    ),
    ToolSet(
        name="containerd",
        packages={
            "containerd": f"{_CONTAINERD}/cmd/containerd",
            "containerd-shim-runc-v2": f"{_CONTAINERD}/cmd/containerd-shim-runc-v2",
            "ctr": f"{_CONTAINERD}/cmd/ctr",
        },
        expected_seconds=51,
        version_module=_CONTAINERD,
        version_variables={f"{_CONTAINERD}/version.Version": "v{version}"},
    ),
    ToolSet(
        name="node",
        packages={"pause": f"{_NODE}/pause", "provisioner": f"{_NODE}/provisioner"},
        expected_seconds=120,
    ),
    ToolSet(
        name="etcd",
        packages={"etcd": "go.etcd.io/etcd/server/v3"},
        expected_seconds=29,
    ),
    ToolSet(
        name="runc",
        packages={"runc": "github.com/opencontainers/runc"},
        expected_seconds=21,
        tags=("seccomp",),
        uses_cgo=True,
    ),
)

# Only what fills dashboards from a live run needs the server; it shares promtool's compiled packages.
PROMETHEUS = ToolSet(
    name="prometheus",
    packages={"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
    expected_seconds=90,
    version_module="github.com/prometheus/prometheus",
    version_variables={_COMMON_VERSION: "{version}"},
)

# `up --with autoscaling` and the tests of it. Built by nothing else: it takes longer than Kubernetes itself.
KEDA = ToolSet(
    name="keda",
    packages={"keda": f"{_KEDA}/cmd/operator", "keda-adapter": f"{_KEDA}/cmd/adapter"},
    expected_seconds=454,
    version_module=_KEDA,
    version_variables={f"{_KEDA}/version.Version": "{version}"},
)

# The same for HorizontalPodAutoscalers: what answers custom.metrics.k8s.io and metrics.k8s.io. Their times
# are guesses from their size: beside a load of 20 they took 23 and 18 min; no quiet machine has built them.
PROMETHEUS_ADAPTER = ToolSet(
    name="prometheus-adapter",
    packages={"prometheus-adapter": "sigs.k8s.io/prometheus-adapter/cmd/adapter"},
    expected_seconds=120,
    version_module="sigs.k8s.io/prometheus-adapter",
)
METRICS_SERVER = ToolSet(
    name="metrics-server",
    packages={"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"},
    expected_seconds=120,
    version_module="sigs.k8s.io/metrics-server",
    version_variables={"k8s.io/client-go/pkg/version.gitVersion": "v{version}"},
)

# A cluster and the demo do without promtool, which takes a sixth of the whole build.
CLUSTER_TOOL_SETS = tuple(each for each in TOOL_SETS if each.name != "promtool")


def pinned_version(go_mod: str, module: str) -> str:
    """The version of `module` that a go.mod requires, without its leading `v`.

    Raises:
        DevclusterError: the go.mod does not require the module.
    """
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+v(\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise DevclusterError(f"go.mod does not require {module}; restore its `require` line")
    return match[1]


def linker_flags(tool_set: ToolSet, go_mod: str) -> str:
    """The `-ldflags` of a set: no symbol table, no DWARF, and the pinned version."""
    flags = ["-s", "-w"]
    if tool_set.version_module:
        version = pinned_version(go_mod, tool_set.version_module)
        major, minor = version.split(".")[:2]
        flags += [
            f"-X {variable}={value.format(version=version, major=major, minor=minor)}"
            for variable, value in tool_set.version_variables.items()
        ]
    return " ".join(flags)
