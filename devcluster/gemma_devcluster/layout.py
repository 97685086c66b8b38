"""The folders and files of one cluster, and how clusters are told apart."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster.errors import DevclusterError

DEFAULT_NAME = "gemma"
# The name becomes a node name, a cgroup and a certificate subject.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}(?<!-)")
# Inside the machine these are private mounts, so a state folder below them could not be seen there.
HIDDEN_IN_MACHINE = (
    Path("/run"),
    Path("/var/run"),
    Path("/var/lib"),
    Path("/var/log"),
    Path("/proc"),
    Path("/sys"),
)


def default_state_root() -> Path:
    """`$XDG_STATE_HOME` or `~/.local/state`, and this project's folder in it."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "gemma-devcluster"


@dataclass(frozen=True)
class Layout:
    """What lies where under the state folder of cluster `name`."""

    root: Path
    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DevclusterError(
                f"cluster name {self.name!r} must be lower-case letters, digits and dashes, start with a "
                "letter and have at most 31 characters"
            )
        hidden = next((h for h in HIDDEN_IN_MACHINE if self.root.resolve().is_relative_to(h)), None)
        if hidden:
            raise DevclusterError(
                f"the state folder {self.root} lies under {hidden}, which a cluster hides from itself; "
                "choose another with --state-dir"
            )

    @property
    def state(self) -> Path:
        """Everything of this cluster; `down` deletes it."""
        return self.root / self.name

    @property
    def record(self) -> Path:
        """The cluster's `Record`; a cluster exists while this file does."""
        return self.state / "cluster.json"

    @property
    def pki(self) -> Path:
        """Keys and certificates, for the owner alone."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One file per component, and the audit log."""
        return self.state / "logs"

    @property
    def configs(self) -> Path:
        """The components' configuration files, written anew by each `up`."""
        return self.state / "config"

    @property
    def processes(self) -> Path:
        """One file per process: its id and start time."""
        return self.state / "processes"

    @property
    def volumes(self) -> Path:
        """One folder per PersistentVolume."""
        return self.state / "volumes"

    @property
    def etcd(self) -> Path:
        """etcd's data."""
        return self.state / "etcd"

    @property
    def audit_log(self) -> Path:
        """Every request to the API server at level Metadata, one JSON object a line."""
        return self.logs / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"

    def component_kubeconfig(self, user: str) -> Path:
        """The kubeconfig of the component whose certificate has this name."""
        return self.configs / f"{user}.kubeconfig"

    def log(self, component: str) -> Path:
        """What a component prints."""
        return self.logs / f"{component}.log"


@dataclass(frozen=True)
class Record:
    """What must survive the process that started a cluster.

    Attributes:
        index: decides every address (`addresses`).
        gpus: simulated accelerators, `cloud.google.com/gke-accelerator` value to count.
    """

    index: int
    gpus: Mapping[str, int]

    @classmethod
    def read(cls, path: Path) -> "Record":
        """The record in a file that `write` made."""
        content = json.loads(path.read_text())
        return cls(int(content["index"]), dict(content["gpus"]))

    def write(self, path: Path) -> None:
        """Put the record where `read` finds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"index": self.index, "gpus": dict(self.gpus)}))


def indexes_in_use(root: Path) -> dict[str, int]:
    """Cluster name to index, of all clusters that have a state folder under `root`."""
    return {path.parent.name: Record.read(path).index for path in sorted(root.glob("*/cluster.json"))}
