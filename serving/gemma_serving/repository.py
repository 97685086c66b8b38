"""Writes the Triton model repository of a pod from its runtime.json.

    python -m gemma_serving.repository --config /etc/gemma/runtime.json --target /models

Result: TARGET/gemma/config.pbtxt, TARGET/gemma/1/{model.py, runtime.json, gemma_serving/…}. The package
travels beside model.py because NVIDIA's images are used unmodified; it needs the standard library and the
engine only.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Final

from gemma_serving.contract import MODEL_NAME, ContractError, EngineKind, RuntimeConfig

MODEL_VERSION: Final = "1"
TRAVELLING: Final = ("__init__.py", "contract", "engines")
"""The part of gemma_serving that the model imports."""

_PACKAGE: Final = Path(__file__).resolve().parent


class RepositoryError(Exception):
    """The repository cannot be written; the message says why and what to do."""


def template_folder() -> Path:
    """Return the folder of config.pbtxt and 1/model.py.

    In an installed package it lies inside, in the source tree and in our images beside it.
    """
    for folder in (_PACKAGE / "model_repository", _PACKAGE.parent / "model_repository"):
        if (folder / MODEL_NAME / "config.pbtxt").is_file():
            return folder / MODEL_NAME
    raise RepositoryError(
        f"the model template is missing beside {_PACKAGE}: the package was not installed completely"
    )


def write_repository(config_path: Path, target: Path) -> Path:
    """Write the model folder and return it, replacing what an earlier start of the pod left.

    Raises RepositoryError where runtime.json is missing, does not match the contract, or names an unknown
    engine.
    """
    try:
        text = config_path.read_bytes()
        config = RuntimeConfig.from_json(text)
        EngineKind(config.engine)
    except OSError as error:
        raise RepositoryError(f"cannot read {config_path}: {error.strerror}") from error
    except ContractError as error:
        raise RepositoryError(
            f"{config_path}: {error}; operator and gateway image are of different versions"
        ) from error
    except ValueError as error:
        known = ", ".join(kind.value for kind in EngineKind)
        raise RepositoryError(f"{config_path}: engine: {error}; known: {known}") from error
    template = template_folder()
    model = target / MODEL_NAME
    if model.exists():
        shutil.rmtree(model)
    version = model / MODEL_VERSION
    version.mkdir(parents=True)
    shutil.copyfile(template / "config.pbtxt", model / "config.pbtxt")
    shutil.copyfile(template / MODEL_VERSION / "model.py", version / "model.py")
    (version / "runtime.json").write_text(config.to_json() + "\n", encoding="utf-8")
    for name in TRAVELLING:
        _copy_sources(_PACKAGE / name, version / _PACKAGE.name / name)
    return model


def _copy_sources(source: Path, target: Path) -> None:
    """Copy one file or folder, Python sources only: byte code of another interpreter must not travel."""
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    for file in files:
        destination = target / file.relative_to(source) if source.is_dir() else target
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, destination)


def main(arguments: list[str]) -> int:
    """Parse the command line and write; 0, or 1 with a message on standard error."""
    parser = argparse.ArgumentParser(
        prog="gemma_serving.repository", description="Write the Triton model repository."
    )
    parser.add_argument("--config", type=Path, required=True, help="runtime.json as the operator wrote it")
    parser.add_argument("--target", type=Path, required=True, help="Triton's --model-repository")
    options = parser.parse_args(arguments)
    try:
        print(f"wrote {write_repository(options.config, options.target)}")
    except RepositoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
