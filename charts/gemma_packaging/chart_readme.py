"""README.md of the chart, from Chart.yaml and the comments of values.yaml."""

from pathlib import Path

import yaml

from gemma_packaging.values import Value, values_of

INTRODUCTION = """\
<!-- generated from values.yaml by `make packaging`; do not edit -->
# {name} {version}

{description}

    helm install gemma-operator ./gemma-operator --namespace gemma-system --create-namespace \\
      --set images.registry=REGISTRY
    helm test gemma-operator --namespace gemma-system

Kubernetes {kubernetes}. What each kind of cluster needs is in `ci/`: {shapes}. The guides are
docs/gke.md, docs/operations.md and docs/security.md of the repository.

## Values

An unknown key is refused with its name. `tag` empty is the chart's appVersion; `digest` wins over it.
"""


def chart_readme(chart: Path) -> str:
    """The whole file."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    shapes = [path.name.removesuffix("-values.yaml") for path in sorted(chart.glob("ci/*-values.yaml"))]
    head = INTRODUCTION.format(
        name=about["name"],
        version=about["version"],
        description=about["description"],
        kubernetes=about["kubeVersion"].removesuffix("-0"),
        shapes=", ".join(shapes),
    )
    return head + "\n" + "\n".join(_table(values_of((chart / "values.yaml").read_text())))


def _table(values: list[Value]) -> list[str]:
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in values:
        name = f"**`{value.path}`**" if value.is_group else f"`{value.path}`"
        default = "" if value.is_group else f"`{value.default}`"
        rows.append(f"| {name} | {default} | {value.comment.replace('|', chr(92) + '|')} |")
    return [*rows, ""]
