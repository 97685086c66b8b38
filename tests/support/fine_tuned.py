"""A LoRA that PEFT itself trained and saved, for tests of the way from a fine-tune to an endpoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

PROMPT: Final = "The harbour master's parrot is called"
ANSWER: Final = " Archibald Pepperpot the Third"
"""Which no model says by itself."""
LORA_RANK: Final = 8
LAYERS_TRAINED: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PEFT_REQUIREMENTS: Final = "requirements/peft.txt"
TRAINER: Final = "tests/support/train_adapter.py"


def trained_adapter() -> Path:
    """Return the folder that PEFT saved, training it where needed (half a minute)."""
    from support.triton_runtime import CACHE, ROOT, build_once, content_hash  # noqa: PLC0415
    from support.vllm_runtime import (  # noqa: PLC0415  # the trainer needs the names above only
        gemma_270m_folder,
        run_inside,
        vllm_python,
    )

    folder = CACHE / f"lora-{content_hash(PEFT_REQUIREMENTS, TRAINER, 'tests/support/fine_tuned.py')}"
    with build_once(folder) as filling:
        if filling is not None:
            packages = filling / "packages"
            install = [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
            ]
            target = ["--target", str(packages), "--python", str(vllm_python())]
            subprocess.run([*install, *target, "-r", str(ROOT / PEFT_REQUIREMENTS)], check=True)
            arguments = [str(ROOT / TRAINER), str(gemma_270m_folder()), str(filling / "adapter")]
            run_inside(arguments, packages=packages, check=True)
    return folder / "adapter"
