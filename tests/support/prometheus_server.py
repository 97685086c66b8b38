"""A real Prometheus beside a devcluster: discovers its pods, evaluates our rules, keeps nothing."""

import base64
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gemma_operator.cli.prometheus import Prometheus

SCRAPE_INTERVAL = "2s"
RULE_INTERVAL = "2s"
"""Instead of 30 s and a minute, so that a test sees in minutes what takes an hour."""
START_SECONDS = 60
META = "__meta_kubernetes_pod"

Scrape = dict[str, Any]
"""One entry of `scrape_configs`."""


@dataclass(frozen=True)
class PrometheusServer:
    """One that runs."""

    url: str
    api: Prometheus


def hastened(rules: Path, seconds: int, changes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The rules evaluated often, each alert's `for` cut to so many seconds.

    Expressions stay as they are, but for the `changes` of a test whose fault has to last shorter, too.
    """
    text = rules.read_text()
    for old, new in (changes or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    document: dict[str, Any] = yaml.safe_load(text)
    for group in document["groups"]:
        group["interval"] = RULE_INTERVAL
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = f"{seconds}s"
    return document


@contextmanager
def running(
    binary: Path, folder: Path, scrapes: Sequence[Scrape], rules: dict[str, Any]
) -> Iterator[PrometheusServer]:
    """Start one, wait until it is ready, end it."""
    port = _free_port()
    configuration = {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": RULE_INTERVAL},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": list(scrapes),
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    command = [
        str(binary),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    with (folder / "prometheus.log").open("w") as log:
        # Without the environment's proxies: the cluster is on this machine.
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={"HOME": str(folder)})
        try:
            _await_ready(url, process, folder / "prometheus.log")
            yield PrometheusServer(url, Prometheus(url))
        finally:
            process.terminate()
            process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("Prometheus did not start:\n" + "\n".join(log.read_text().splitlines()[-10:]))


def operator_at(address: str) -> Scrape:
    """An operator that runs beside the test."""
    return {"job_name": "operator", "honor_labels": True, "static_configs": [{"targets": [address]}]}


def pods_of(folder: Path, kubeconfig: Path) -> list[Scrape]:
    """All that a devcluster runs: serving pods, the operator, and containers as their kubelets see them."""
    admin = yaml.safe_load(kubeconfig.read_text())
    user, cluster = admin["users"][0]["user"], admin["clusters"][0]["cluster"]
    files = {
        "ca.crt": cluster["certificate-authority-data"],
        "client.crt": user["client-certificate-data"],
        "client.key": user["client-key-data"],
    }
    for name, data in files.items():
        (folder / name).write_bytes(base64.b64decode(data))
    return [
        _pods("serving", "admin", "serving_gemma_operator_dev_role", "serving", kubeconfig, False),
        _pods("operator", "metrics", "app_kubernetes_io_component", "operator", kubeconfig, True),
        _kubelet(folder, kubeconfig, cluster["server"].removeprefix("https://")),
    ]


def _pods(job: str, port: str, label: str, value: str, kubeconfig: Path, honor_labels: bool) -> Scrape:
    """What the chart's PodMonitors become in prometheus-operator's hands."""
    keep = [
        {"source_labels": [f"{META}_label_{label}"], "regex": value, "action": "keep"},
        {"source_labels": [f"{META}_container_port_name"], "regex": port, "action": "keep"},
    ]
    targets = [
        {"source_labels": [source], "target_label": target}
        for source, target in (
            ("__meta_kubernetes_namespace", "namespace"),
            (f"{META}_name", "pod"),
            (f"{META}_container_name", "container"),
        )
    ]
    return {
        "job_name": job,
        "honor_labels": honor_labels,
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
        "relabel_configs": [*keep, *targets],
    }


def _kubelet(folder: Path, kubeconfig: Path, server: str) -> Scrape:
    """cAdvisor of every node, through the API server."""
    path = "/api/v1/nodes/$1/proxy/metrics/cadvisor"
    return {
        "job_name": "cadvisor",
        "scheme": "https",
        "tls_config": {
            "ca_file": str(folder / "ca.crt"),
            "cert_file": str(folder / "client.crt"),
            "key_file": str(folder / "client.key"),
        },
        "kubernetes_sd_configs": [{"role": "node", "kubeconfig_file": str(kubeconfig)}],
        "relabel_configs": [
            {"target_label": "__address__", "replacement": server},
            {
                "source_labels": ["__meta_kubernetes_node_name"],
                "target_label": "__metrics_path__",
                "replacement": path,
            },
        ],
        "metric_relabel_configs": [
            {
                "source_labels": ["__name__"],
                "regex": "container_memory_working_set_bytes|container_cpu_usage_seconds_total",
                "action": "keep",
            }
        ],
    }
