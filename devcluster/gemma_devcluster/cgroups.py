"""The cgroups kubelets put their pods under, on cgroup v1 and v2."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from gemma_devcluster.waiting import await_value

CGROUPS = Path("/sys/fs/cgroup")
REMOVAL_SECONDS = 30.0


def hierarchies() -> list[Path]:
    """The roots under which a cgroup must be made: one on cgroup v2, one per controller on v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in sorted(CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def make(name: str) -> None:
    """Make a cgroup in every hierarchy, with all of its parents and (on v2) their controllers."""
    for hierarchy in hierarchies():
        folder = hierarchy / name.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for parent in reversed(folder.relative_to(hierarchy).parents):
            _delegate_controllers(hierarchy / parent)


def _delegate_controllers(folder: Path) -> None:
    available = folder / "cgroup.controllers"
    for name in available.read_text().split() if available.exists() else ():
        # The kernel refuses some in some places; kubelet names those that it then misses.
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{name}")


def remove(name: str) -> None:
    """Remove a cgroup with its children, and its parent when that became empty."""
    for hierarchy in hierarchies():
        top = hierarchy / name
        if not top.is_dir():
            continue
        folders = [*sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True), top]
        for folder in folders:
            await_value(partial(_removed, folder), REMOVAL_SECONDS, f"the end of cgroup {folder}")
        if not any(p.is_dir() for p in top.parent.iterdir()):
            top.parent.rmdir()


def _removed(folder: Path) -> bool | None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # a killed process is still leaving
        return None
    return True
