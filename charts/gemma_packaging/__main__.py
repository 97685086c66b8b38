"""`python -m gemma_packaging write|verify|release`: what is generated for packaging, and the release."""

import argparse
import sys
from pathlib import Path

from gemma_packaging import licences
from gemma_packaging.chart_readme import chart_readme
from gemma_packaging.release import ReleaseError, release

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "gemma-operator"


def generated() -> dict[Path, str]:
    """Path below the repository's root to content."""
    return {
        Path("charts/gemma-operator/README.md"): chart_readme(CHART),
        Path("docs/licences.md"): licences.table(ROOT / "requirements"),
    }


def stale() -> list[str]:
    """Generated files that are missing, or differ from what would be written."""
    return [
        str(path)
        for path, text in generated().items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text() != text
    ]


def main() -> int:
    """0: done. 1: a stale file, or parts of a release that do not agree."""
    parser = argparse.ArgumentParser(prog="gemma_packaging", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write", help="write the chart's README and docs/licences.md")
    commands.add_parser("verify", help="say which of them are stale")
    releasing = commands.add_parser("release", help="wheel, chart, images, SBOMs and checksums")
    releasing.add_argument("--target", type=Path, default=ROOT / "dist")
    releasing.add_argument("--base", help="base image from a registry; default: a Debian made here")
    releasing.add_argument("--without-images", action="store_true", help="only what needs no image builder")
    arguments = parser.parse_args()
    if arguments.command == "release":
        try:
            print(release(ROOT, arguments.target, base=arguments.base, images=not arguments.without_images))
        except ReleaseError as error:
            print(f"release: {error}", file=sys.stderr)
            return 1
        return 0
    if arguments.command == "write":
        for path, text in generated().items():
            (ROOT / path).write_text(text)
        return 0
    wrong = stale()
    for name in wrong:
        print(f"{name} is not what charts/gemma_packaging generates; run `make packaging`", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
