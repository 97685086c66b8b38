"""Lay the tritonserver of PyPI's `nvidia-pytriton` wheel out as NVIDIA's image has it.

    python lay_out_triton.py --site-packages DIR --python 3.11 --target /opt/tritonserver

Result: bin/tritonserver, lib/ (its shared libraries), backends/python/ (with the stub of the wanted Python),
caches/local/. The libraries carry an RPATH that points elsewhere: run with LD_LIBRARY_PATH=TARGET/lib, and
put the folder of the matching libpython behind it where Python is not the system's own (facts: the stub links
libpython3.X.so.1.0).

Standard library only: the image build and the tests run the same file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path


def lay_out(site_packages: Path, python: str, target: Path) -> None:
    """Copy the server, its libraries and the Python backend under `target`.

    Raises FileNotFoundError with the stubs on offer where there is none for this Python.
    """
    server = site_packages / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        offered = sorted(path.name for path in (server / "python_backend_stubs").glob("3.*"))
        raise FileNotFoundError(
            f"no stub for Python {python} in {server}; the wheel offers: {', '.join(offered) or 'none'}"
        )
    for name in ("bin", "backends", "caches"):
        shutil.copytree(server / name, target / name, dirs_exist_ok=True)
    shutil.copytree(site_packages / "nvidia_pytriton.libs", target / "lib", dirs_exist_ok=True)
    shutil.copy2(stub, target / "backends" / "python" / stub.name)
    for program in (target / "bin" / "tritonserver", target / "backends" / "python" / stub.name):
        program.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Parse the command line and lay out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--site-packages", type=Path, required=True, help="where nvidia-pytriton is installed"
    )
    parser.add_argument(
        "--python", default=f"{sys.version_info.major}.{sys.version_info.minor}", help="stub to use"
    )
    parser.add_argument("--target", type=Path, required=True)
    options = parser.parse_args(arguments)
    lay_out(options.site_packages, options.python, options.target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
