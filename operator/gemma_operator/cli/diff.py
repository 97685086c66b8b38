"""`gemma-operator diff`: what this operator would change in the pods of a GemmaDeployment, before it does."""

import argparse
import difflib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gemma_operator.api.base import GROUP, PLURAL
from gemma_operator.api.manifest import Manifest, object_key, owner_of
from gemma_operator.api.read import SpecError
from gemma_operator.cli.documents import InputError, read_resources, read_settings
from gemma_operator.cli.render import RefusedError, render, to_yaml
from gemma_operator.resources.revision import KEPT_KINDS, read_record, restored
from gemma_operator.settings import OperatorSettings

DIFFERENT = 1
"""Exit code, as of diff and `kubectl diff`."""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("diff", help="print what this operator would change in what runs")
    parser.add_argument(
        "resource",
        metavar="FILE|NAME",
        help="YAML with GemmaDeployments to compare with what runs, or the name of one as the cluster has it",
    )
    parser.add_argument("--settings", metavar="FILE", help="the operator's settings; default: all defaults")
    parser.add_argument("--namespace", default="default", help="of NAME, and of resources that name none")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        settings = read_settings(args.settings)
        nodes = _items("get", "nodes")
        text = "".join(
            difference(resource, _children(resource), settings, nodes)
            for resource in _resources(args.resource, args.namespace)
        )
    except (InputError, SpecError, RefusedError) as error:
        print(f"gemma-operator diff: {error}", file=sys.stderr)
        return 2
    sys.stdout.write(text)
    return DIFFERENT if text else 0


def difference(
    resource: Manifest, children: Sequence[Manifest], settings: OperatorSettings, nodes: Sequence[Manifest]
) -> str:
    """Unified diff from the rendering that last served to that of this operator; empty where they are equal.

    Both sides are renderings, so that neither defaults of the API server nor foreign labels show up.
    Raises SpecError, RefusedError, and InputError where nothing has served yet.
    """
    owner = owner_of(resource)
    new = render(resource, settings, nodes, owner.namespace)
    good = read_record(owner, children)
    if good is None:
        raise InputError(
            f"{owner.name} has no record of pods that served: `render` prints what would be made"
        )
    old = {object_key(m): m for m in restored(owner, good, new) if m["kind"] in KEPT_KINDS}
    wanted = {object_key(m): m for m in new if m["kind"] in KEPT_KINDS}
    lines: list[str] = []
    for key in sorted(old.keys() | wanted.keys()):
        before, after = (
            to_yaml([side[key]]).splitlines(keepends=True) if key in side else [] for side in (old, wanted)
        )
        lines += difflib.unified_diff(before, after, f"running {key}", f"rendered {key}")
    return "".join(lines)


def _resources(name: str, namespace: str) -> list[Manifest]:
    """From a file, with identity from the cluster; or by name from the cluster."""
    if not (name == "-" or Path(name).exists()):
        return [_get(name, namespace)]
    written = read_resources(name)
    return [_as_stored(resource, namespace) for resource in written]


def _as_stored(resource: Manifest, namespace: str) -> Manifest:
    metadata = resource["metadata"]
    stored = _get(metadata["name"], metadata.get("namespace", namespace))
    return {**resource, "metadata": {**metadata, **stored["metadata"]}}


def _children(resource: Manifest) -> list[Manifest]:
    metadata = resource["metadata"]
    return _items("get", "configmaps", "-n", metadata["namespace"])


def _get(name: str, namespace: str) -> Manifest:
    found: Manifest = json.loads(_kubectl("get", f"{PLURAL}.{GROUP}", name, "-n", namespace))
    return found


def _items(*arguments: str) -> list[Manifest]:
    listed = json.loads(_kubectl(*arguments))
    return list(listed["items"])


def _kubectl(*arguments: str) -> str:
    """Through kubectl, whose contexts, credentials and plugins are the user's own. Raises InputError."""
    try:
        done = subprocess.run(
            ["kubectl", *arguments, "-o", "json"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise InputError(f"kubectl cannot be run: {error}") from error
    if done.returncode:
        raise InputError(done.stderr.strip())
    return done.stdout
