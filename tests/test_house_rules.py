"""The rules of the house that no linter knows: what may exist, how large it may grow, what may be named."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
SHIPPED = (
    "operator/gemma_operator",
    "serving/gemma_serving",
    "serving/model_repository",
    "devcluster/gemma_devcluster",
)
FORBIDDEN_ROOMS = {"utils", "util", "helpers", "common", "misc"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / line for line in listed if (ROOT / line).is_file()]


def shipped_modules() -> list[Path]:
    return sorted(path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_operator_folder_is_never_a_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists(), (
        "operator/__init__.py would shadow the standard library's `operator` module: "
        "python -m pytest and python -m mypy die with an ImportError. The folder is a place, not a package."
    )


def test_no_room_is_a_lumber_room() -> None:
    lumber = [
        name(p) for p in shipped_modules() if p.stem in FORBIDDEN_ROOMS or p.parent.name in FORBIDDEN_ROOMS
    ]
    assert lumber == []


def test_layers_are_kept() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_layer_contracts_are_exhaustive() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [contract for contract in contracts if contract["type"] == "layers"]
    assert layers
    assert all(contract["exhaustive"] for contract in layers)


@pytest.mark.parametrize("path", shipped_modules(), ids=name)
def test_files_and_functions_stay_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE_LINES, f"{lines} lines; split at {MAX_FILE_LINES}"
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path) if f.end_lineno}
    assert {k: v for k, v in long.items() if v > MAX_FUNCTION_LINES} == {}
    parameters = {
        f.name: [a for a in (*f.args.args, *f.args.kwonlyargs) if a.arg not in ("self", "cls")]
        for f in functions(path)
    }
    assert {k: len(v) for k, v in parameters.items() if len(v) > MAX_PARAMETERS} == {}


def test_every_dependency_says_why_it_is_there() -> None:
    inside, silent = False, []
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if line.startswith(("dependencies = [", "operator = [", "serving = [", "dev = [")):
            inside = True
        elif line.startswith("]"):
            inside = False
        elif inside and line.strip().startswith('"') and "#" not in line:
            silent.append(line.strip())
    assert silent == []


def test_no_secondhand_addresses_are_committed() -> None:
    """Registries are reached through their clients, and no file knows the machine it was written on."""
    forbidden = (
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry.npmjs" + ".org",
        "proxy.golang" + ".org",
        "deb.debian" + ".org",
        "/root" + "/.",
        "/work" + "/main",
        "/work" + "/shared",
    )
    found = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{name(path)}: {word}" for word in forbidden if word in text]
    assert found == []


def test_every_namespace_with_an_endpoint_in_tests_is_guarded() -> None:
    """Only one module makes namespaces where pods serve, and it guards each: restricted, default deny."""
    places = [*(ROOT / "tests/cluster").glob("*.py"), *(ROOT / "tests/serving").rglob("*.py")]
    makers = {name(path) for path in places if _makes_namespaces(path)}
    assert makers == {"tests/cluster/namespaces.py"}


def _makes_namespaces(path: Path) -> bool:
    """Whether a module has the maker of namespaces, or writes the kind out."""
    return any(
        (isinstance(node, ast.Attribute) and ast.unparse(node) == "installation.namespace")
        or (isinstance(node, ast.Constant) and node.value == "Namespace")
        for node in ast.walk(ast.parse(path.read_text()))
    )
