"""Where a planted value could have leaked to in a cluster: every place that somebody may read."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from cluster.conftest import Installed
from gemma_devcluster import images, installation
from gemma_packaging.licences import SHIPPED
from support.image_bytes import file_at, parts_of

MAY_HOLD_IT = frozenset({"secrets"})
"""The only kind of object that a value may stand in."""
METRICS_PORT = 9090
LONGEST_LOG_BYTES = 64 * 1024 * 1024


def places(installed: Installed, namespaces: list[str]) -> Iterator[tuple[str, str]]:
    """(where, text) of all objects but Secrets, logs, metrics, releases, processes and images."""
    yield from objects(installed)
    for namespace in namespaces:
        yield from pod_logs(installed, namespace)
        yield from metrics(installed, namespace)
    yield from component_logs(installed)
    release = (installation.RELEASE, "--namespace", installation.OPERATOR_NAMESPACE)
    yield "helm get all", installed.helm.run("get", "all", *release)
    yield from arguments()
    yield from image_histories()


def objects(installed: Installed) -> Iterator[tuple[str, str]]:
    """Every object of every kind that can be listed, events, custom resources and status included."""
    listable = installed.kubectl.run("api-resources", "--verbs=list", "-o", "name").split()
    names = ",".join(name for name in listable if name not in MAY_HOLD_IT)
    texts: dict[str, list[str]] = defaultdict(list)
    for item in installed.kubectl.get(names, "--all-namespaces")["items"]:
        texts[item["kind"]].append(json.dumps(item))
    for kind, found in texts.items():
        yield f"objects of kind {kind}", "\n".join(found)


def pod_logs(installed: Installed, namespace: str) -> Iterator[tuple[str, str]]:
    """Of every container of every pod, init containers included."""
    for pod in installed.kubectl.get("pods", "-n", namespace)["items"]:
        name = pod["metadata"]["name"]
        for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
            where = ("-n", namespace, "logs", name, "-c", container["name"])
            yield f"log of {namespace}/{name}/{container['name']}", installed.kubectl.run(*where)


def metrics(installed: Installed, namespace: str) -> Iterator[tuple[str, str]]:
    """Pages of serving pods and of the operator."""
    for pod in installed.kubectl.get("pods", "-n", namespace)["items"]:
        if pod["status"]["phase"] == "Running" and _serves_metrics(pod):
            url = f"http://{pod['status']['podIP']}:{METRICS_PORT}/metrics"
            yield url, httpx.get(url, trust_env=False).text


def _serves_metrics(pod: dict[str, Any]) -> bool:
    return any(
        port.get("containerPort") == METRICS_PORT
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
    )


def component_logs(installed: Installed) -> Iterator[tuple[str, str]]:
    """Of kubelet, containerd, API server with its audit log, and the rest."""
    for path in sorted(installed.audit_log.parent.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()[-LONGEST_LOG_BYTES:].decode(errors="replace")


def arguments() -> Iterator[tuple[str, str]]:
    """Command lines of all processes that run now."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended
        yield str(path), text


def image_histories() -> Iterator[tuple[str, str]]:
    """Configuration, environment and build history of our images; nothing is built."""
    for name, image in images.build().items():
        _, config = next(parts_of(image.archive))
        yield f"history of {name}", config.decode()


def layers(names: Sequence[str] = tuple(SHIPPED)) -> Iterator[tuple[str, bytes]]:
    """(which, bytes) of every layer of images, by default of those that ship, each once.

    The weights mirror is not among them: as the tests' own hub it knows the token that it accepts.
    """
    seen = set()
    for name, image in images.build(list(names)).items():
        _, *parts = parts_of(image.archive)
        for layer, content in parts:
            if layer not in seen:
                seen.add(layer)
                yield name, content


def in_layers(wanted: Mapping[str, re.Pattern[bytes]], names: Sequence[str] = tuple(SHIPPED)) -> list[str]:
    """Where in the layers of images any of these stands; named by key, so that no report repeats a secret."""
    return [
        f"{key} in {file_at(content, found.start())} of {image}"
        for image, content in layers(names)
        for key, value in wanted.items()
        for found in value.finditer(content)
    ]
