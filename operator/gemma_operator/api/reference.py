"""docs/api.md, generated: every field, condition and reason, in the words of the types themselves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.crd import crd_manifest
from gemma_operator.api.reasons import ConditionType

REFERENCE_FILE = "docs/api.md"

_OPENING = f"""<!-- generated from operator/gemma_operator/api by `make generate`; do not edit -->
# API reference: {KIND} ({API_VERSION})

The smallest useful resource:

```yaml
apiVersion: {API_VERSION}
kind: {KIND}
metadata: {{name: assistant}}
spec:
  model: {{variant: gemma-3-4b-it}}
```

`kubectl explain {KIND.lower()}.spec --recursive` prints the same on a cluster, `kubectl get gemma` lists.
Defaults are applied when the operator reads a resource and are not written into it; `replicas` is the
exception, because the scale subresource needs it. The API server checks every rule, and the operator again.
"""

_CONDITIONS = """## Conditions

In the order in which they become True; `Ready` takes reason and message from the first that is not.
Each carries the `observedGeneration` it was judged from; `lastTransitionTime` moves only with `status`.
A message says what is needed, what there is and what to change; that of a pending pod is the scheduler's own,
that of a crash the container's last line.
"""

_MEANINGS = {
    ConditionType.PLANNED: "The spec has a plan. When False, what runs stays as it is.",
    ConditionType.WEIGHTS_READY: "The files are where the engine looks for them.",
    ConditionType.PODS_READY: "All wanted replicas of the current template take requests.",
    ConditionType.READY: "All of the above.",
    ConditionType.SCALING_ACTIVE: "With `scaling`: the operator asked the metric source itself, and replicas"
    " follow it. Not part of `Ready`.",
}


def reference_markdown(reasons: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """The page. `reasons` maps a heading to its (reason, sentence) pairs, as `api/reasons.py` groups them."""
    version = crd_manifest()["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    root_rules = version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]
    parts = [
        _OPENING,
        "## Spec\n",
        _table(properties["spec"], "spec"),
        "### Rules\n",
        *(f"- {rule['message']}" for rule in [*root_rules, *_rules(properties["spec"])]),
        "\n## Status\n",
        _table(properties["status"], "status"),
        _CONDITIONS,
        "| condition | True when |\n|---|---|",
        *(f"| `{kind.value}` | {meaning} |" for kind, meaning in _MEANINGS.items()),
        "\n## Reasons\n",
    ]
    for heading, pairs in reasons.items():
        parts += [f"### {heading}\n", "| reason | given when |\n|---|---|"]
        parts += [f"| `{reason}` | {_cell(sentence)} |" for reason, sentence in pairs]
        parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def _table(schema: Mapping[str, Any], root: str) -> str:
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for path, node, is_required in _fields(schema, root):
        name = path.removeprefix(f"{root}.")
        required = " **required.**" if is_required else ""
        rows.append(f"| `{name}` | {_cell(_kind(node))} | {_cell(node.get('description', ''))}{required} |")
    return "\n".join(rows) + "\n"


def _fields(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = schema.get("required", ())
    for name, node in schema.get("properties", {}).items():
        place = f"{path}.{name}"
        yield place, node, name in required
        if node.get("type") == "array":
            yield from _fields(node["items"], f"{place}[]")
        else:
            yield from _fields(node, place)


def _rules(schema: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    yield from schema.get("x-kubernetes-validations", ())
    for node in schema.get("properties", {}).values():
        yield from _rules(node)


def _kind(node: Mapping[str, Any]) -> str:
    if "x-kubernetes-int-or-string" in node:
        return "quantity"
    if "enum" in node:
        return " ".join(f"`{value}`" for value in node["enum"])
    limits = [f"≥ {node['minimum']}"] if "minimum" in node else []
    limits += [f"≤ {node['maximum']}"] if "maximum" in node else []
    if node["type"] == "array":
        return f"list of {node['items']['type']}, at most {node['maxItems']}"
    default = [f"default {json.dumps(node['default'])}"] if "default" in node else []
    return ", ".join([node["type"], *limits, *default])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
