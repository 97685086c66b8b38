"""`python -m gemma_monitoring --write|--verify`: the generated files of the chart and the runbook index."""

import argparse
import sys
from pathlib import Path

from gemma_monitoring.dashboards import dashboard_files
from gemma_monitoring.reference import reference
from gemma_monitoring.rules.render import rules_file
from gemma_monitoring.runbooks import index

ROOT = Path(__file__).resolve().parents[2]
CHART = Path("charts/gemma-operator")


def generated() -> dict[Path, str]:
    """Path below the repository's root to content."""
    files = {CHART / "rules" / "gemma.rules.yaml": rules_file()}
    files |= {CHART / "dashboards" / name: text for name, text in dashboard_files().items()}
    files[Path("docs/runbooks/README.md")] = index(ROOT / "docs" / "runbooks")
    files[Path("docs/metrics.md")] = reference()
    return files


def stale() -> list[str]:
    """Generated files that are missing or differ from what would be written, and those that nothing
    generates."""
    files = generated()
    wrong = [
        str(p) for p, text in files.items() if not (ROOT / p).is_file() or (ROOT / p).read_text() != text
    ]
    folders = {path.parent for path in files} - {Path("docs/runbooks"), Path("docs")}
    present = {
        path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).iterdir() if path.is_file()
    }
    return sorted([*wrong, *map(str, present - files.keys())])


def main() -> int:
    """Exit code 1 when --verify finds a stale file."""
    parser = argparse.ArgumentParser(prog="gemma_monitoring", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true")
    mode.add_argument("--verify", action="store_true")
    if parser.parse_args().write:
        for path, text in generated().items():
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text)
        return 0
    wrong = stale()
    for name in wrong:
        print(f"{name} is not what charts/gemma_monitoring generates; run `make monitoring`", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
