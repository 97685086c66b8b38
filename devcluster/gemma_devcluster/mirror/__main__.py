"""`python -m gemma_devcluster.mirror`."""

import argparse
from pathlib import Path

from gemma_devcluster.mirror import WeightsMirror, files_of


def main() -> None:
    """Serve a folder until interrupted."""
    parser = argparse.ArgumentParser(description="Hugging Face-compatible test server")
    parser.add_argument("--root", type=Path, required=True, help="folder of OWNER/NAME/files")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    mirror = WeightsMirror(arguments.root, arguments.host, arguments.port)
    for folder in sorted(arguments.root.glob("*/*")):
        for file in files_of(folder):
            print(
                f"serving {folder.relative_to(arguments.root)}: {file.name} ({file.size} bytes)", flush=True
            )
    mirror.serve()


if __name__ == "__main__":
    main()
