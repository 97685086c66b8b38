"""The Linux namespaces one cluster lives in: processes, mounts, network, IPC and host name.

Process 1 of the PID namespace is `pause`. Ending it makes the kernel end every other process in there, and
with the last process go its mounts, network interfaces, iptables rules and ipsets: nothing can be left
behind.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster import cgroups
from gemma_devcluster.addresses import Addresses
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.layout import Layout
from gemma_devcluster.waiting import await_value

START_SECONDS = 30.0
STOP_SECONDS = 30.0
# The API server would wait a minute for its watchers.
GRACE_SECONDS = 3.0

# What kubelet wants of the machine's kernel and writes where it differs (component-helpers node/util/sysctl).
# These are not per namespace, so it is shown files that already say so and the real ones stay untouched.
KUBELET_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}

_SET_UP = """
set -eu
mount -t tmpfs -o mode=755 devcluster /run
mkdir -p /run/cgroup /run/sysctl /run/netns
# sysfs shows the network of whoever mounted it, so it is mounted anew around the cgroup hierarchies.
mount --move /sys/fs/cgroup /run/cgroup
umount -l /sys
mount -t sysfs devcluster /sys
mount --move /run/cgroup /sys/fs/cgroup
mount --bind "$STATE/machine/lib" /var/lib
mount --bind "$STATE/machine/log" /var/log
for pair in $SYSCTLS; do
    file=/run/sysctl/$(echo "${pair%%=*}" | tr / _)
    echo "${pair##*=}" > "$file"
    mount --bind "$file" "/proc/sys/${pair%%=*}"
done
# Kubelet's and containers' mounts must reach each other; nothing reaches the host: unshare cut that tie.
mount --make-rshared /
hostname "$NAME"
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
exec "$PAUSE"
"""


@dataclass(frozen=True)
class Process:
    """A process that is the same one only while its start time (clock ticks since boot) is, too."""

    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.pid} {self.started}"

    @classmethod
    def parse(cls, text: str) -> "Process":
        """What `str` made."""
        pid, started = text.split()
        return cls(int(pid), int(started))


@dataclass(frozen=True)
class Machine:
    """The namespaces of one cluster; may or may not be there."""

    layout: Layout
    addresses: Addresses

    @property
    def _record(self) -> Path:
        return self.layout.processes / "machine"

    def init(self) -> Process | None:
        """The namespaces' first process as this side sees it, or None when they are gone."""
        return _if_alive(self._record, Path("/proc"))

    def start(self, pause: Path) -> None:
        """Make the namespaces and the link to them.

        Raises:
            DevclusterError: the kernel refused; its words are in the message.
        """
        for folder in (self.layout.processes, self.layout.logs, *self._private_folders()):
            folder.mkdir(parents=True, exist_ok=True)
        log = self.layout.log("machine")
        environment = {
            **os.environ,
            "STATE": str(self.layout.state),
            "NAME": self.layout.name,
            "PAUSE": str(pause),
            "SYSCTLS": " ".join(f"{key}={value}" for key, value in KUBELET_SYSCTLS.items()),
        }
        command = ["unshare", "--fork", "--pid", "--mount-proc", "--mount", "--net", "--ipc", "--uts"]
        with log.open("wb") as output:
            parent = subprocess.Popen(
                [*command, "sh", "-c", _SET_UP],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        pid = self._await_init(parent, pause)
        self._record.write_text(str(Process(pid, _started(Path(f"/proc/{pid}")))))
        self._link(pid)

    def _private_folders(self) -> list[Path]:
        return [self.layout.state / "machine" / name for name in ("lib", "log")]

    def _await_init(self, parent: "subprocess.Popen[bytes]", pause: Path) -> int:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")

        def pid_of_pause() -> int | None:
            if parent.poll() is not None:
                words = self.layout.log("machine").read_text().strip()
                raise DevclusterError(f"could not make the cluster's namespaces:\n    {words}")
            child = children.read_text().split()
            if child and Path(f"/proc/{child[0]}/comm").read_text().strip() == pause.name:
                return int(child[0])
            return None

        return await_value(pid_of_pause, START_SECONDS, "the cluster's namespaces")

    def _link(self, pid: int) -> None:
        link, addresses = self.addresses.host_link, self.addresses
        prefix = addresses.link.prefixlen
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("address", "add", f"{addresses.host}/{prefix}", "dev", link)
        _ip("link", "set", link, "up")
        self.run(["ip", "address", "add", f"{addresses.machine}/{prefix}", "dev", "eth0"])
        self.run(["ip", "link", "set", "eth0", "up"])
        _ip("route", "add", str(addresses.network), "via", str(addresses.machine), "dev", link)

    def _entering(self) -> list[str]:
        init = self.init()
        if init is None:
            raise DevclusterError(
                f"cluster {self.layout.name!r} is not running; "
                f"start it with `devcluster up --name {self.layout.name}`"
            )
        return ["nsenter", "--target", str(init.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]

    def run(self, command: Sequence[str], stdin: bytes | Path | None = None) -> str:
        """Run a short command inside and return what it printed.

        Raises:
            DevclusterError: it failed; its output is in the message.
        """
        arguments = [*self._entering(), *command]
        if isinstance(stdin, Path):
            with stdin.open("rb") as file:
                done = subprocess.run(arguments, stdin=file, capture_output=True, check=False)
        else:
            done = subprocess.run(arguments, input=stdin or b"", capture_output=True, check=False)
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise DevclusterError(
                f"`{' '.join(command)}` failed in cluster {self.layout.name}:\n    {output}"
            )
        return done.stdout.decode()

    def spawn(self, name: str, command: Sequence[str], path: str) -> None:
        """Start a long-running process inside; it outlives this one. `path` is its PATH."""
        detached = 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!'
        log = str(self.layout.log(name))
        environment = ["env", f"PATH={path}"]
        pid = int(self.run(["sh", "-c", detached, "sh", log, *environment, *command]))
        folder = self._processes_inside() / str(pid)
        self._process_file(name).write_text(str(Process(pid, _started(folder) if folder.exists() else 0)))

    def is_running(self, name: str) -> bool:
        """Whether the process spawned under this name is alive."""
        return self.pid(name) is not None

    def command(self, name: str) -> list[str]:
        """The command line of the process, empty when it is not running."""
        pid = self.pid(name)
        try:
            line = (self._processes_inside() / str(pid) / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return []
        return line.split("\0")[:-1]

    def pid(self, name: str) -> int | None:
        """The process's id inside the machine, or None when it is dead or was never started."""
        process = _if_alive(self._process_file(name), self._processes_inside()) if self.init() else None
        return process.pid if process else None

    def terminate(self, name: str) -> None:
        """Ask one process to end, soon no longer ask, and return when it has ended.

        Raises:
            DevclusterError: it did not end.
        """
        for signal_name, seconds in (("TERM", GRACE_SECONDS), ("KILL", STOP_SECONDS)):
            pid = self.pid(name)
            if pid is None:
                return
            self.run(["kill", "-s", signal_name, str(pid)])
            try:
                await_value(lambda: self.pid(name) is None or None, seconds, f"the end of {name}")
            except DevclusterError:
                if signal_name == "KILL":
                    raise

    def _process_file(self, name: str) -> Path:
        return self.layout.processes / name

    def _processes_inside(self) -> Path:
        init = self.init()
        return Path(f"/proc/{init.pid if init else 0}/root/proc")

    def stop(self) -> None:
        """End everything inside, and what the host holds for it: link, route and cgroups."""
        init = self.init()
        if init is not None:
            os.kill(init.pid, signal.SIGKILL)
            await_value(
                lambda: self.init() is None or None, STOP_SECONDS, "the end of the cluster's processes"
            )
        # The kernel takes a dead namespace's interfaces down in the background; do not wait for it.
        subprocess.run(["ip", "link", "delete", self.addresses.host_link], capture_output=True, check=False)
        cgroups.remove(f"gemma-devcluster/{self.layout.name}")


def _if_alive(record: Path, processes: Path) -> Process | None:
    if not record.exists():
        return None
    process = Process.parse(record.read_text())
    try:
        return process if _started(processes / str(process.pid)) == process.started else None
    except (FileNotFoundError, ProcessLookupError):
        return None


def _started(process: Path) -> int:
    # proc(5): field 22; the second is a name that may hold spaces and brackets. A zombie is dead.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise ProcessLookupError(process)
    return int(fields[19])


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
