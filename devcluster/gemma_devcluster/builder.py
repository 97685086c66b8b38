"""Compiles the tool sets once and keeps the programs in the user's cache folder under a content hash."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster import prerequisites
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.progress import BuildProgress
from gemma_devcluster.toolsets import TOOL_SETS, ToolSet, linker_flags

HASH_LENGTH = 16
FAILURE_LINES = 20


@dataclass(frozen=True)
class Binaries:
    """Where the built programs lie: one folder holding a link to each of them."""

    folder: Path

    def path(self, program: str) -> Path:
        """The program of that name."""
        return self.folder / program


def cache_folder() -> Path:
    """The user's cache folder for this project, `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gemma-operator" / "devcluster"


def go_version() -> str:
    """The Go toolchain and target that programs are built with, as `go1.26.8 linux/amd64`.

    Raises:
        DevclusterError: Go is missing.
    """
    if shutil.which("go") is None:
        raise DevclusterError(
            "needs Go 1.26 or newer to build Kubernetes, and `go` is not on PATH; install it and run again"
        )
    command = ["go", "env", "GOVERSION", "GOOS", "GOARCH"]
    version, system, architecture = subprocess.check_output(command, text=True).split()
    return f"{version} {system}/{architecture}"


def source_files(folder: Path) -> list[Path]:
    """The files of a tool set that decide its content: module files and own Go code, sorted."""
    return sorted(p for p in folder.rglob("*") if p.name in ("go.mod", "go.sum") or p.suffix == ".go")


def content_hash(tool_set: ToolSet, toolchain: str) -> str:
    """A digest of everything that decides the bytes of a set's programs."""
    digest = hashlib.sha256()
    flags = linker_flags(tool_set, (tool_set.folder / "go.mod").read_text())
    recipe = (toolchain, flags, tool_set.tags, tool_set.uses_cgo, sorted(tool_set.packages.items()))
    digest.update(repr(recipe).encode())
    for path in source_files(tool_set.folder):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(tool_set.folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:HASH_LENGTH]


def build_commands(tool_set: ToolSet, output: Path) -> list[list[str]]:
    """One `go build` for all packages whose program has the package's name, one for each other.

    Go names a program after its package's last element, which for `go.etcd.io/etcd/server/v3` is `server`.
    """
    flags = ["go", "build", "-trimpath", "-buildvcs=false"]
    if tool_set.tags:
        flags += ["-tags", ",".join(tool_set.tags)]
    flags += ["-ldflags", linker_flags(tool_set, (tool_set.folder / "go.mod").read_text())]
    natural = [package for name, package in tool_set.packages.items() if package.endswith(f"/{name}")]
    renamed = {name: package for name, package in tool_set.packages.items() if package not in natural}
    commands = [[*flags, "-o", f"{output}/", *natural]] if natural else []
    return commands + [[*flags, "-o", str(output / name), package] for name, package in renamed.items()]


def ensure(tool_sets: Sequence[ToolSet] = TOOL_SETS, cache: Path | None = None) -> Binaries:
    """Build what is not in the cache yet and return where the programs are.

    Raises:
        DevclusterError: Go or a package is missing, or a build failed (with its last lines).
    """
    cache = cache or cache_folder()
    toolchain = go_version()
    targets = {s: cache / f"{s.name}-{content_hash(s, toolchain)}" for s in tool_sets}
    absent = [s for s, target in targets.items() if not target.is_dir()]
    if absent:
        prerequisites.require(prerequisites.TO_BUILD if any(s.uses_cgo for s in absent) else ())
        cache.mkdir(parents=True, exist_ok=True)
        with BuildProgress({s.name: s.expected_seconds for s in absent}) as progress:
            _build_all(absent, targets, progress)
    return Binaries(_linked_folder(cache, targets.values()))


def _build_all(absent: Sequence[ToolSet], targets: dict[ToolSet, Path], progress: BuildProgress) -> None:
    workers = max(1, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        builds: list[Future[None]] = [pool.submit(_build, s, targets[s], progress) for s in absent]
        done, pending = wait(builds, return_when=FIRST_EXCEPTION)
        for build in pending:
            build.cancel()
    for build in done:
        build.result()


def _build(tool_set: ToolSet, target: Path, progress: BuildProgress) -> None:
    progress.start(tool_set.name)
    with _locked(target.with_suffix(".lock")):
        if not target.is_dir():
            _compile_into(tool_set, target)
    progress.finish(tool_set.name)


def _compile_into(tool_set: ToolSet, target: Path) -> None:
    environment = {
        **os.environ,
        "CGO_ENABLED": "1" if tool_set.uses_cgo else "0",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }
    scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        for command in build_commands(tool_set, scratch):
            done = subprocess.run(
                command,
                cwd=tool_set.folder,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                raise DevclusterError(_failure(tool_set, command, done.stdout))
        scratch.chmod(0o755)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _failure(tool_set: ToolSet, command: list[str], output: str) -> str:
    lines = [line for line in output.splitlines() if not line.startswith("go: downloading")]
    tail = "\n".join(f"    {line}" for line in lines[-FAILURE_LINES:])
    shown = " ".join(command[:4])
    return (
        f"building {tool_set.name} failed (`{shown} …` in {tool_set.folder}):\n{tail}\n"
        "  do: check that the Go module proxy answers (`go env GOPROXY`), that `go version` is at least\n"
        "      the one in go.mod, and that the disk has 6 GB free; then run again: finished sets are kept"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs side by side build each set once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _linked_folder(cache: Path, sets: Iterable[Path]) -> Path:
    """A folder with one link per program, named after the sets it links to."""
    sets = list(sets)
    name = hashlib.sha256(repr([s.name for s in sets]).encode()).hexdigest()[:HASH_LENGTH]
    folder = cache / f"bin-{name}"
    if folder.is_dir():
        return folder
    scratch = Path(tempfile.mkdtemp(prefix="bin.", dir=cache))
    for each in sets:
        for program in each.iterdir():
            (scratch / program.name).symlink_to(program)
    scratch.chmod(0o755)
    try:
        scratch.rename(folder)
    except OSError:  # another run was faster; its folder is the same
        shutil.rmtree(scratch)
    return folder
