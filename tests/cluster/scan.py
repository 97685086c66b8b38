"""Where a planted value could have leaked to in a cluster: every place that somebody may read."""

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from cluster.conftest import Installed
from gemma_devcluster import images, installation

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
        with tarfile.open(image.archive) as archive:
            manifest = archive.extractfile("manifest.json")
            assert manifest is not None
            config = archive.extractfile(json.load(manifest)[0]["Config"])
            assert config is not None
            yield f"history of {name}", config.read().decode()
