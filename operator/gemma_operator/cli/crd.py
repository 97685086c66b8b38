"""`gemma-operator crd`: print the CustomResourceDefinition, or keep what is generated from it fresh."""

import argparse
import ast
import difflib
import inspect
import sys
from pathlib import Path

from gemma_operator.api import reasons
from gemma_operator.api.crd import CHART_FILE, CRD_FILE, chart_yaml, crd_yaml
from gemma_operator.api.reference import REFERENCE_FILE, reference_markdown

_ENUM = "Reason"


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "crd", help="print the CRD, or write or verify the files generated from it"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="write the generated files of this checkout")
    action.add_argument("--verify", action="store_true", help="fail if a generated file is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the checkout (default: here)")
    parser.set_defaults(run=_run)


def generated_files() -> dict[str, str]:
    """Path within the checkout → content, for every file that is generated from the API types."""
    return {
        CRD_FILE: crd_yaml(),
        CHART_FILE: chart_yaml(),
        REFERENCE_FILE: reference_markdown(documented_reasons()),
    }


def documented_reasons() -> dict[str, list[tuple[str, str]]]:
    """The sentence below each member of Reason, which only its source has, grouped by its comment lines."""
    source = inspect.getsource(reasons)
    lines = source.splitlines()
    body = next(
        node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == _ENUM
    )
    grouped: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    for member, sentence in zip(body[1::2], body[2::2], strict=True):
        above = lines[member.lineno - 2].strip()
        heading = above.removeprefix("# ").capitalize() if above.startswith("# any") else heading
        heading = (
            above.removeprefix("# ") if above.startswith("# ") and not above.startswith("# any") else heading
        )
        assert isinstance(member, ast.Assign)
        assert isinstance(sentence, ast.Expr)
        grouped.setdefault(heading, []).append(
            (ast.literal_eval(member.value), ast.literal_eval(sentence.value))
        )
    return grouped


def _run(args: argparse.Namespace) -> int:
    if args.write:
        return _write(args.root)
    if args.verify:
        return _verify(args.root)
    sys.stdout.write(crd_yaml())
    return 0


def _write(root: Path) -> int:
    for name, content in generated_files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_fresh = path.exists() and path.read_text() == content
        path.write_text(content)
        print(f"{name}: {'unchanged' if is_fresh else 'written'}")
    return 0


def _verify(root: Path) -> int:
    stale = False
    for name, content in generated_files().items():
        path = root / name
        found = path.read_text() if path.exists() else ""
        if found == content:
            continue
        stale = True
        difference = difflib.unified_diff(
            found.splitlines(), content.splitlines(), name, "generated", lineterm=""
        )
        print("\n".join(difference), file=sys.stderr)
    if stale:
        print("generated files are stale: run `make generate` and commit the result", file=sys.stderr)
    return 1 if stale else 0
