"""Two clusters side by side, a crash, a failed start, and what is left after `down`: nothing."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from devcluster.conftest import ProbeImage
from devcluster.pods import await_ready, pod, probe, run_ready, service
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.machine import KUBELET_SYSCTLS
from gemma_devcluster.waiting import await_value

pytestmark = pytest.mark.cluster

END_SECONDS = 30.0
# Where a Kubernetes node writes when nobody stops it.
USUAL_PLACES = [
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
    "/run/netns",
    "/run/xtables.lock",
    "/etc/cni",
    "/etc/containerd",
    "/etc/nri",
    "/opt/cni",
    "/opt/containerd",
    "/opt/nri",
    "/usr/libexec/kubernetes",
]


def output(*command: str) -> list[str]:
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line for line in text.splitlines() if not line.startswith("#")]


def links() -> set[str]:
    return {link["ifname"] for link in json.loads("".join(output("ip", "-json", "link")))}


def machine_state(state: Path) -> dict[str, object]:
    """Everything a Kubernetes node changes on its host, but for what other clusters may be changing now."""
    return {
        "mounts": [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line
        ],
        "links": {name for name in links() if not name.startswith("gdc-")},
        "routes": {route for route in output("ip", "route") if " gdc-" not in route},
        "namespaces": output("ip", "netns"),
        "iptables": output("iptables-save"),
        "ipsets": output("ipset", "list", "-name"),
        "cgroups": sorted(str(p) for p in Path("/sys/fs/cgroup").glob(f"*/gemma-devcluster/{state.name}")),
        "sysctls": {key: (Path("/proc/sys") / key).read_text() for key in KUBELET_SYSCTLS},
        "places": [place for place in USUAL_PLACES if Path(place).exists()],
        "state": state.exists(),
    }


def processes_below(root: int) -> set[tuple[int, str]]:
    """Host process id and start time of a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    started: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.parent.name)
        parents.setdefault(int(fields[1]), []).append(pid)
        started[pid] = fields[19]
    found, todo = set(), [root]
    while todo:
        pid = todo.pop()
        found.add((pid, started[pid]))
        todo += parents.get(pid, [])
    return found


def test_a_second_cluster_coexists_survives_a_crash_and_leaves_nothing(
    cluster: Cluster, state_root: Path, probe_image: ProbeImage
) -> None:
    other = Cluster("other", state_root)
    before = machine_state(other.layout.state)
    run_ready(cluster, "beside", pod("server", probe_image.name), service("server"))
    try:
        other.up()
        other.load_image(probe_image.archive)
        run_ready(other, "beside", pod("server", probe_image.name), service("server"))
        assert not other.addresses.network.overlaps(cluster.addresses.network)
        for each in (cluster, other):
            assert probe(each, "beside", "server", "get", "http://server.beside/both") == "hello /both"

        crash(other)
        other.up()
        await_ready(other, "beside")
        assert probe(other, "beside", "server", "get", "http://server.beside/again") == "hello /again"

        init = other.machine.init()
        assert init is not None
        processes = processes_below(init.pid)
        assert len(processes) > len(other.components())
        addresses = other.addresses
        assert addresses.host_link in links()
    finally:
        other.down()
    assert machine_state(other.layout.state) == before
    assert addresses.host_link not in links()
    assert not [route for route in output("ip", "route") if route.startswith(str(addresses.network))]
    assert not processes & processes_below(1)
    assert probe(cluster, "beside", "server", "get", "http://server.beside/still") == "hello /still"


def crash(cluster: Cluster) -> None:
    """End all of a cluster's processes at once, as a power cut does."""
    init = cluster.machine.init()
    assert init is not None
    os.kill(init.pid, signal.SIGKILL)
    await_value(lambda: True if cluster.machine.init() is None else None, END_SECONDS, "the crash")


def test_a_failed_start_shows_the_component_its_last_lines_and_what_to_do(state_root: Path) -> None:
    broken = Cluster("broken", state_root)
    broken.layout.etcd.mkdir(parents=True)
    (broken.layout.etcd / "member").write_text("a file where etcd wants a folder")
    try:
        with pytest.raises(DevclusterError) as caught:
            broken.up()
    finally:
        broken.down()
    message = str(caught.value)
    assert "etcd of cluster 'broken' ended" in message
    assert "not a directory" in message
    assert "devcluster up --name broken" in message
    assert not broken.layout.state.exists()


def test_down_of_an_unknown_cluster_says_that_there_was_none(state_root: Path) -> None:
    assert Cluster("never-made", state_root).down() is False


def test_using_an_unknown_cluster_says_how_to_make_it(state_root: Path) -> None:
    with pytest.raises(DevclusterError, match="devcluster up --name never-made"):
        Cluster("never-made", state_root).kubeconfig()
