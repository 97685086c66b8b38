"""The stand: a real API server with its controllers, and the operator on one core beside it.

Pods never start: the only node is tainted. What the operator asks of the API server is read from the server's
own audit log, by the user of its requests.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from gemma_devcluster.cluster import Cluster
from gemma_operator.kube.apiserver import ApiServer
from gemma_operator.kube.kinds import rbac_rules

CLUSTER_NAME = "bench"
SYSTEM_NAMESPACE = "gemma-system"
TAINT = "bench.gemma-operator.dev/no-pods=:NoSchedule"
CRD = Path(__file__).parents[2] / "crds" / "serving.gemma-operator.dev_gemmadeployments.yaml"
RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC = f"{RBAC_GROUP}/v1"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
START_SECONDS = 120.0
MIB = 1 << 20
_PORTS = re.compile(r"probes on port (\d+), metrics on port (\d+)")


def bring_up() -> Cluster:
    """The cluster with the CRD in it; what runs already is kept."""
    cluster = Cluster(CLUSTER_NAME)
    cluster.up()
    cluster.kubectl.run("taint", "nodes", "--all", "--overwrite", TAINT)
    cluster.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    cluster.kubectl.run(
        "wait", "crd/gemmadeployments.serving.gemma-operator.dev", "--for=condition=Established"
    )
    return cluster


async def administrator(cluster: Cluster) -> ApiServer:
    """A client with all permissions, to make load with."""
    configuration = Configuration()
    await load_kube_config(
        config_file=str(cluster.kubeconfig()), client_configuration=configuration, persist_config=False
    )
    return ApiServer(configuration, lambda request, code: None)


@dataclass(frozen=True)
class Account:
    """A service account of the operator's permissions, whose requests the audit log tells apart."""

    cluster: Cluster
    name: str

    @property
    def user(self) -> str:
        """As the API server knows it."""
        return f"system:serviceaccount:{SYSTEM_NAMESPACE}:{self.name}"

    def kubeconfig(self, folder: Path) -> Path:
        """Make the account and write its kubeconfig."""
        metadata = {"name": self.name}
        rules = [*rbac_rules(), {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}]
        self.cluster.kubectl.apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
                {"apiVersion": "v1", "kind": "ServiceAccount",
                 "metadata": {**metadata, "namespace": SYSTEM_NAMESPACE}},
                {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": metadata, "rules": rules},
                {"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": metadata,
                 "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": self.name},
                 "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": SYSTEM_NAMESPACE}]},
            ]
        )  # fmt: skip
        token = self.cluster.kubectl.run(
            "create", "token", self.name, "-n", SYSTEM_NAMESPACE, "--duration=24h"
        ).strip()
        config = yaml.safe_load(self.cluster.kubeconfig().read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        path = folder / f"{self.name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


class Counted:
    """Requests of a user from now on, from the API server's audit log."""

    def __init__(self, account: Account) -> None:
        self._log = account.cluster.layout.audit_log
        self._user = account.user
        self._start = self._log.stat().st_size

    def requests(self) -> Counter[str]:
        """Finished requests and opened watches by verb."""
        with self._log.open("rb") as file:
            file.seek(self._start)
            lines = file.read().splitlines()
        counted: Counter[str] = Counter()
        for line in lines:
            if self._user.encode() not in line:
                continue
            event = json.loads(line)
            ends = "ResponseStarted" if event["verb"] == "watch" else "ResponseComplete"
            if event["stage"] == ends and event["user"]["username"] == self._user:
                verb = "discovery" if not event.get("objectRef", {}).get("resource") else event["verb"]
                counted[verb] += 1
        return counted

    @staticmethod
    def writes(requests: Counter[str]) -> int:
        """How many of them were writes."""
        return sum(number for verb, number in requests.items() if verb in WRITES)


class Program:
    """A program under measurement, pinned to one core."""

    def __init__(self, arguments: list[str], kubeconfig: Path, log: Path, core: int) -> None:
        self._arguments = arguments
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._log = log
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None
        self._metrics = 0

    @contextmanager
    def running(self) -> Iterator["Program"]:
        """Start it, and end it whatever happens."""
        self.start()
        try:
            yield self
        finally:
            self.end(signal.SIGTERM)

    def start(self) -> None:
        """Start it; returns when it serves its metrics."""
        with self._log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                ["taskset", "--cpu-list", str(self._core), sys.executable, *self._arguments],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while (found := _PORTS.search(self._log.read_bytes()[begin:].decode())) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.01)
        self._metrics = int(found[2])

    def end(self, number: signal.Signals) -> None:
        """End it with a signal."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(60)

    def metric(self, name: str) -> float:
        """Sum of a metric's samples; 0 while nobody answers."""
        try:
            page = httpx.get(f"http://127.0.0.1:{self._metrics}/metrics", trust_env=False, timeout=30).text
        except httpx.TransportError:
            return 0.0
        # Not parsed: a thousand endpoints make a page of 20,000 samples, and the reader shares the machine.
        lines = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def resident_mib(self) -> float:
        """Resident memory."""
        return self._status("VmRSS") / 1024

    def peak_mib(self) -> float:
        """Largest resident memory so far."""
        return self._status("VmHWM") / 1024

    def cpu_seconds(self) -> float:
        """Processor time used."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        assert self._process is not None
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(name)))
