"""What the gateway is compared with: LiteLLM's proxy, and llama.cpp's own OpenAI server.

LiteLLM lives in an environment of its own, built once under a content hash in the user's cache folder:

    python benchmarks/gateway/peers.py    builds it (2 minutes, 0.6 GB)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(HERE)]

from frameworks import free_port, wait_until_open  # noqa: E402

from support.triton_runtime import CACHE, build_once, content_hash, gemma_270m, triton_runtime  # noqa: E402

REQUIREMENTS = "requirements/litellm-proxy.txt"
LITELLM_KEY = f"sk-{os.urandom(24).hex()}"
"""Its proxy does not start without one."""
LOAD_SECONDS = 120
"""Longest that llama.cpp's server may load Gemma 3 270M; an idle machine needs a second."""


@dataclass(frozen=True)
class Peer:
    """A server under measurement."""

    port: int
    pid: int


def litellm_python() -> Path:
    """Python of LiteLLM's environment, which is built where needed."""
    folder = CACHE / f"litellm-{content_hash(REQUIREMENTS)}"
    with build_once(folder) as filling:
        if filling is not None:
            uv = [sys.executable, "-m", "uv"]
            venv = [*uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, filling / "venv"]
            subprocess.run(venv, check=True)
            install = [*uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
            install += ["-r", str(ROOT / REQUIREMENTS), "--python", str(filling / "venv/bin/python")]
            subprocess.run(install, check=True)
    return folder / "venv" / "bin" / "python"


@contextlib.contextmanager
def process(arguments: list[str], port: int, **environment: str) -> Iterator[Peer]:
    """A server until the block ends."""
    started = subprocess.Popen(arguments, env={**os.environ, **environment}, start_new_session=True)
    try:
        wait_until_open(port, started)
        yield Peer(port, started.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@contextlib.contextmanager
def litellm(folder: Path, pace_seconds: float, burst: int) -> Iterator[Peer]:
    """LiteLLM's proxy in front of a scripted OpenAI server at the given pace."""
    stub_port, port = free_port(), free_port()
    settings = folder / f"litellm-{burst}.yaml"
    settings.write_text(
        "model_list:\n- model_name: demo\n  litellm_params:\n    model: openai/demo\n    api_key: none\n"
        f"    api_base: http://127.0.0.1:{stub_port}/v1\nlitellm_settings: {{telemetry: false}}\n"
    )
    stub = [sys.executable, str(HERE / "openai_stub.py"), str(stub_port), str(pace_seconds), str(burst)]
    command = [str(litellm_python().with_name("litellm")), "--config", str(settings), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True"}
    quiet["LITELLM_MASTER_KEY"] = LITELLM_KEY
    with process(stub, stub_port), process(command, port, **quiet) as peer:
        yield peer


@contextlib.contextmanager
def llamacpp_server(slots: int, context_length: int, threads: int) -> Iterator[Peer]:
    """llama.cpp's own OpenAI server on the real Gemma 3 270M, from the engine's own environment."""
    port = free_port()
    command = [sys.executable, str(HERE / "llamacpp_server.py"), str(gemma_270m()), str(port)]
    command += [str(slots), str(context_length), str(threads)]
    libraries = str(sysconfig.get_config_var("LIBDIR"))
    environment = {"PYTHONPATH": str(triton_runtime().site), "LD_LIBRARY_PATH": libraries}
    with process(command, port, **environment) as peer:
        wait_until_loaded(port)
        yield peer


def wait_until_loaded(port: int) -> None:
    """llama.cpp listens before it has loaded its model, and answers 503 until then."""
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return
        time.sleep(0.1)
    raise RuntimeError(f"llama.cpp's server had not loaded its model after {LOAD_SECONDS} s")


if __name__ == "__main__":
    print(litellm_python())
