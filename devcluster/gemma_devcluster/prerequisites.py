"""What the machine itself must bring: Debian packages, Go, root. Named together, installed on request."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster.errors import DevclusterError


@dataclass(frozen=True)
class Prerequisite:
    """A Debian package and how to see that it is there: a program on PATH or a file."""

    package: str
    program: str = ""
    file: str = ""

    def is_present(self) -> bool:
        """Whether the program or file is there, whoever installed it."""
        if self.program:
            return shutil.which(self.program, path=SYSTEM_PATH) is not None
        return any(Path("/").glob(self.file.lstrip("/")))


# Debian keeps the network tools in sbin, which a user's PATH may lack.
SYSTEM_PATH = os.pathsep.join(
    [
        os.environ.get("PATH", ""),
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
)

TO_BUILD = (
    Prerequisite("gcc", program="gcc"),
    Prerequisite("libc6-dev", file="/usr/include/stdlib.h"),
    Prerequisite("pkg-config", program="pkg-config"),
    Prerequisite("libseccomp-dev", file="/usr/include/seccomp.h"),
)
TO_BUILD_IMAGES = (
    Prerequisite("buildah", program="buildah"),
    Prerequisite("mmdebstrap", program="mmdebstrap"),
)
TO_RUN = (
    Prerequisite("containernetworking-plugins", file="/usr/lib/cni/bridge"),
    Prerequisite("iproute2", program="ip"),
    Prerequisite("iptables", program="iptables"),
    Prerequisite("ipset", program="ipset"),
    Prerequisite("conntrack", program="conntrack"),
    Prerequisite("util-linux", program="unshare"),
    Prerequisite("openssl", program="openssl"),
    Prerequisite("libseccomp2", file="/usr/lib/*/libseccomp.so.2"),
)
EVERYTHING = TO_BUILD + TO_BUILD_IMAGES + TO_RUN


def missing(prerequisites: Iterable[Prerequisite]) -> list[str]:
    """Names of the Debian packages that are not there, in the given order."""
    return [each.package for each in prerequisites if not each.is_present()]


def require(prerequisites: Iterable[Prerequisite]) -> None:
    """Refuse to go on without the packages.

    Raises:
        DevclusterError: names all that is missing and the command that installs it.
    """
    absent = missing(prerequisites)
    if absent:
        raise DevclusterError(
            f"needs the Debian packages {', '.join(absent)}, which are not installed.\n"
            f"  do: {install_command(absent)}\n"
            "  or: devcluster prerequisites --install"
        )


def require_root() -> None:
    """Refuse to go on as another user than root.

    Raises:
        DevclusterError: the effective user is not root.
    """
    if os.geteuid() != 0:
        raise DevclusterError(
            "needs root: kubelet and containerd make namespaces, mounts and cgroups; use sudo"
        )


# There once the kernel has br_netfilter, built in or loaded.
BRIDGE_SYSCTL = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def require_bridge_netfilter() -> None:
    """Load br_netfilter if the kernel does not have it yet: pods on one bridge meet iptables through it.

    Other modules a node needs are loaded by the kernel itself.

    Raises:
        DevclusterError: the kernel lacks it and cannot load it.
    """
    modprobe = shutil.which("modprobe", path=SYSTEM_PATH)
    if not BRIDGE_SYSCTL.exists() and modprobe is not None:
        subprocess.run([modprobe, "br_netfilter"], capture_output=True, check=False)
    if not BRIDGE_SYSCTL.exists():
        raise DevclusterError(
            "needs the kernel module br_netfilter, which is not loaded;\n"
            "  do: apt-get install -y kmod && modprobe br_netfilter, or boot a kernel that has it"
        )


WATCHER_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHERS = 32
"""inotify instances of a cluster of two nodes: 12 of kubelets, 12 of the control plane, 6 of runtimes and the
proxy (counted, 2026-11). The kernel allows a user 128."""


def require_watchers(limit_file: Path = WATCHER_LIMIT) -> None:
    """Refuse to start a cluster for which the kernel's inotify instances do not suffice.

    Without this a kubelet or a controller fails with "too many open files", which names no cause.

    Raises:
        DevclusterError: too few are left.
    """
    limit = int(limit_file.read_text())
    left = limit - watchers_in_use(Path("/proc").glob("[0-9]*"))
    if left < WATCHERS:
        raise DevclusterError(
            f"needs {WATCHERS} inotify instances for a cluster, and {max(left, 0)} of {limit} are left;\n"
            f"  do: sysctl -w fs.inotify.max_user_instances={4 * limit}, or take another cluster down"
        )


def watchers_in_use(processes: Iterable[Path]) -> int:
    """inotify instances of those of the processes (folders of /proc) that are this user's."""
    return sum(_is_watcher(file) for folder in processes for file in _open_files(folder))


def _open_files(process: Path) -> list[Path]:
    # A process may end, or belong to somebody else, while it is looked at.
    with suppress(OSError):
        if process.stat().st_uid == os.geteuid():
            return list((process / "fd").iterdir())
    return []


def _is_watcher(file: Path) -> bool:
    with suppress(OSError):
        return os.readlink(file) == "anon_inode:inotify"
    return False


def install_command(packages: Iterable[str]) -> str:
    """The command that installs them, to run or to show."""
    return f"apt-get install -y --no-install-recommends {' '.join(packages)}"


def install() -> list[str]:
    """Install what is missing through apt and return the packages' names.

    Raises:
        DevclusterError: apt failed.
    """
    absent = missing(EVERYTHING)
    if not absent:
        return []
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update -q", install_command(absent)):
        if subprocess.run(command.split(), env=environment, check=False).returncode:
            raise DevclusterError(f"`{command}` failed; its own lines above say why")
    return absent
