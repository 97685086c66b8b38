"""A cluster: bring it up, take it down, look at it. Used by the CLI and by tests.

Example:
    >>> cluster = Cluster("gemma")
    >>> cluster.up()
    >>> cluster.load_image(Path("gateway.tar"))
    >>> cluster.kubectl.run("get", "nodes")
"""

import fcntl
import ipaddress
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from ipaddress import IPv4Network
from pathlib import Path

from gemma_devcluster import builder, cgroups, configs, kubeconfigs, nodes, objects, pki, prerequisites
from gemma_devcluster.addresses import Addresses, first_free_index
from gemma_devcluster.archives import image_names, scratch_image, scratch_image_name
from gemma_devcluster.builder import Binaries
from gemma_devcluster.components import Component, ComponentFactory
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.layout import DEFAULT_NAME, Layout, Record, default_state_root, indexes_in_use
from gemma_devcluster.machine import Machine
from gemma_devcluster.nodes import GPU_RESOURCE, Node
from gemma_devcluster.toolsets import CLUSTER_TOOL_SETS
from gemma_devcluster.waiting import await_value

API_SERVER_SECONDS = 60.0
CONTAINERD_SECONDS = 30.0
NODE_SECONDS = 90.0
DNS_SECONDS = 60.0
DNS_PORT = 53
FAILURE_LINES = 20
MACHINE_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Cluster:
    """One cluster by its name.

    Args:
        name: also the name of its ordinary node.
        state_root: folder of all clusters' state; `~/.local/state/gemma-devcluster` when not given.
        gpus: simulated accelerators, `cloud.google.com/gke-accelerator` value to count; one more node for
            each. Not given means what the cluster was started with.
    """

    def __init__(
        self, name: str = DEFAULT_NAME, state_root: Path | None = None, gpus: Mapping[str, int] | None = None
    ) -> None:
        self.layout = Layout((state_root or default_state_root()).resolve(), name)
        self._wanted_gpus = gpus

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.layout.name

    @cached_property
    def binaries(self) -> Binaries:
        """The programs a cluster and the demo need, built first if need be (promtool is not among them)."""
        return builder.ensure(CLUSTER_TOOL_SETS)

    def exists(self) -> bool:
        """Whether the cluster has state on this machine, running or not."""
        return self.layout.record.exists()

    @property
    def addresses(self) -> Addresses:
        """Where everything is.

        Raises:
            DevclusterError: there is no such cluster.
        """
        return Addresses(self._record().index)

    @property
    def nodes(self) -> list[Node]:
        """The ordinary node and one per simulated accelerator."""
        return nodes.nodes_of(self.name, self._record().gpus)

    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig.

        Raises:
            DevclusterError: there is no such cluster.
        """
        self._record()
        return self.layout.kubeconfig

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the cluster's administrator."""
        return Kubectl(self.binaries.path("kubectl"), self.kubeconfig())

    @property
    def machine(self) -> Machine:
        """The namespaces everything runs in."""
        return Machine(self.layout, self.addresses)

    def up(self) -> None:
        """Start whatever of the cluster is not running, and return when its nodes are Ready and DNS answers.

        Raises:
            DevclusterError: a component failed; its last lines are in the message.
        """
        prerequisites.require_root()
        prerequisites.require(prerequisites.TO_RUN)
        prerequisites.require_bridge_netfilter()
        binaries = self.binaries
        with self._locked():
            self._settle_record()
            self._write_files()
            if self.machine.init() is None:
                self.machine.stop()
                prerequisites.require_watchers()
                self.machine.start(binaries.path("pause"))
            self._start_control_plane()
            self._start_nodes()
            self._simulate_accelerators()

    def down(self) -> bool:
        """End the cluster and remove everything it left on this machine; say whether there was one."""
        prerequisites.require_root()
        with self._locked():
            if not self.exists():
                return False
            self.machine.stop()
            shutil.rmtree(self.layout.state)
        return True

    def load_image(self, archive: Path) -> list[str]:
        """Import an OCI or docker archive on every node, replacing equal names, and return the names.

        Raises:
            DevclusterError: no such file, not an archive, or the cluster is not running.
        """
        if not archive.is_file():
            raise DevclusterError(f"there is no image archive {archive}")
        names = image_names(archive)
        for node in self.nodes:
            self._import(node, archive)
        return names

    def load_program(self, program: Path) -> str:
        """Import, on every node, an image FROM scratch that runs one static program, and return its name."""
        for node in self.nodes:
            self._load_program(node, program)
        return scratch_image_name(program)

    def components(self) -> list[Component]:
        """Every process of the cluster, in the order of starting."""
        make = ComponentFactory(self.binaries, self.layout, self.addresses)
        first = self.nodes[0]
        return [
            make.etcd(),
            make.api_server(),
            *(make.containerd(node) for node in self.nodes),
            make.controller_manager(),
            make.scheduler(),
            *(make.kubelet(node) for node in self.nodes),
            make.kube_proxy(),
            make.provisioner(),
            make.kube_router(first),
        ]

    def _record(self) -> Record:
        if not self.exists():
            raise DevclusterError(
                f"there is no cluster {self.name!r} under {self.layout.root}; "
                f"start it with `devcluster up --name {self.name}`"
            )
        return Record.read(self.layout.record)

    def _settle_record(self) -> None:
        """Choose the index once; take over newly wanted accelerators."""
        if self.exists():
            record = self._record()
            if self._wanted_gpus is None or self._wanted_gpus == record.gpus:
                return
            unwanted = sorted(set(record.gpus) - set(self._wanted_gpus))
            if unwanted:
                raise DevclusterError(
                    f"cluster {self.name!r} has nodes with {', '.join(unwanted)}, and nodes stay;\n"
                    f"  do: name them again with --gpus, or `devcluster down --name {self.name}` first"
                )
            index = record.index
        else:
            index = first_free_index(indexes_in_use(self.layout.root).values(), _routes())
        Record(index, self._wanted_gpus or {}).write(self.layout.record)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` or `down` at a time: they choose indexes and links that all clusters share."""
        self.layout.root.mkdir(parents=True, exist_ok=True)
        with (self.layout.root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write_files(self) -> None:
        layout, addresses = self.layout, self.addresses
        for folder in (layout.configs, layout.logs, layout.volumes, layout.etcd):
            folder.mkdir(parents=True, exist_ok=True)
        layout.etcd.chmod(0o700)
        certificates = pki.certificates(addresses, [node.name for node in self.nodes])
        pki.write(layout.pki, certificates)
        files = dict(configs.shared(layout, addresses))
        sandbox = scratch_image_name(self.binaries.path("pause"))
        for node in self.nodes:
            files[layout.configs / f"kubelet-{node.name}.yaml"] = configs.kubelet(node, layout, addresses)
            files[layout.configs / f"containerd-{node.name}.toml"] = configs.containerd(
                node, layout, self.binaries.folder, sandbox
            )
        files[layout.configs / "kube-proxy.yaml"] = configs.kube_proxy(layout, addresses, self.nodes[0])
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # kube-proxy watches its file and ends when it is written, changed or not.
            if not path.exists() or path.read_text() != content:
                path.write_text(content)
        for each in certificates:
            content = kubeconfigs.kubeconfig(layout.pki, addresses, self.name, each.name)
            kubeconfigs.write(layout.component_kubeconfig(each.name), content)
        kubeconfigs.write(layout.kubeconfig, layout.component_kubeconfig("admin").read_text())

    def _start(self, *components: Component) -> set[str]:
        """Start those that do not run like this, for instance from an older build, and return their names."""
        path = os.pathsep.join((str(self.binaries.folder), *MACHINE_PATH))
        others = [each for each in components if self.machine.command(each.name) != list(each.command)]
        for component in others:
            self.machine.terminate(component.name)
            self.machine.spawn(component.name, component.command, path)
        return {component.name for component in others}

    def _start_control_plane(self) -> None:
        make = ComponentFactory(self.binaries, self.layout, self.addresses)
        runtimes = [make.containerd(node) for node in self.nodes]
        servers = [make.etcd(), make.api_server()]
        self._start(*servers, *runtimes)
        for node in self.nodes:
            self._import_own_images(node)
        self._await([*servers, *runtimes], self._api_server_answers, API_SERVER_SECONDS, "the API server")
        coredns = scratch_image_name(self.binaries.path("coredns"))
        self.kubectl.apply(objects.bootstrap(self.addresses, coredns))

    def _start_nodes(self) -> None:
        for node in self.nodes:
            cgroups.make(node.cgroup)
        *components, last = self.components()
        begun = datetime.now(UTC).replace(microsecond=0)
        started = self._start(*components)
        for node in self.nodes:
            # A Node keeps its last word while its kubelet is down: ask a new kubelet for a new one.
            since = begun if f"kubelet-{node.name}" in started else datetime.min.replace(tzinfo=UTC)
            ready = partial(self._is_ready, node.name, since)
            self._await(components, ready, NODE_SECONDS, f"node {node.name}")
        # kube-router ends at once when its Node is not there yet.
        self._start(last)
        self._await([*components, last], self._dns_answers, DNS_SECONDS, "CoreDNS")

    def _await(
        self, needed: Sequence[Component], probe: Callable[[], bool], seconds: float, what: str
    ) -> None:
        def checked() -> bool | None:
            for component in needed:
                if not self.machine.is_running(component.name):
                    raise DevclusterError(self._failure(component.name))
            return probe() or None

        await_value(checked, seconds, what)

    def _failure(self, component: str) -> str:
        log = self.layout.log(component)
        lines = log.read_text(errors="replace").splitlines()[-FAILURE_LINES:]
        tail = "\n".join(f"    {line}" for line in lines)
        return (
            f"{component} of cluster {self.name!r} ended; its last lines:\n{tail}\n"
            f"  do: read {log}, then `devcluster up --name {self.name}` again;\n"
            f"      if it repeats, `devcluster down --name {self.name}` first (it deletes the cluster's data)"
        )

    def _api_server_answers(self) -> bool:
        try:
            return self.kubectl.run("get", "--raw", "/readyz") == "ok"
        except DevclusterError:
            return False

    def _is_ready(self, node: str, since: datetime) -> bool:
        try:
            conditions = self.kubectl.get("node", node)["status"]["conditions"]
        except (DevclusterError, KeyError):
            return False
        return any(
            c["type"] == "Ready"
            and c["status"] == "True"
            and datetime.fromisoformat(c["lastHeartbeatTime"]) >= since
            for c in conditions
        )

    def _dns_answers(self) -> bool:
        """Whether the DNS Service takes a connection: needs kube-proxy, bridge and CoreDNS."""
        try:
            with socket.create_connection((str(self.addresses.dns_service), DNS_PORT), timeout=1):
                return True
        except OSError:
            return False

    def _ctr(self, node: Node, *arguments: str, stdin: bytes | Path | None = None) -> str:
        ctr = str(self.binaries.path("ctr"))
        return self.machine.run([ctr, "--address", node.runtime_socket, "-n", "k8s.io", *arguments], stdin)

    def _import(self, node: Node, archive: Path | bytes) -> None:
        self._ctr(node, "images", "import", "-", stdin=archive)

    def _load_program(self, node: Node, program: Path) -> None:
        if scratch_image_name(program) not in self._images(node):
            self._import(node, scratch_image(program))

    def _images(self, node: Node) -> list[str]:
        return self._ctr(node, "images", "ls", "-q").split()

    def _import_own_images(self, node: Node) -> None:
        runtime = ComponentFactory(self.binaries, self.layout, self.addresses).containerd(node)
        self._await([runtime], partial(self._answers, node), CONTAINERD_SECONDS, runtime.name)
        for program in ("pause", "coredns"):
            self._load_program(node, self.binaries.path(program))

    def _answers(self, node: Node) -> bool:
        try:
            self._ctr(node, "version")
        except DevclusterError:
            return False
        return True

    def _simulate_accelerators(self) -> None:
        """Label the nodes and set the extended resource; kubelets keep both but may not set them."""
        for node in self.nodes[1:]:
            labels = [f"{key}={value}" for key, value in node.labels.items()]
            self.kubectl.run("label", "--overwrite", "node", node.name, *labels)
            patch = {"status": {"capacity": {GPU_RESOURCE: str(node.gpus)}}}
            self.kubectl.run("patch", "node", node.name, "--subresource=status", "-p", json.dumps(patch))


def _routes() -> list[IPv4Network]:
    routes = json.loads(subprocess.check_output(["ip", "-json", "-4", "route"], text=True))
    return [ipaddress.IPv4Network(r["dst"]) for r in routes if r["dst"] != "default"]
