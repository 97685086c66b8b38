"""The operator as a process of its own, as its pod would run it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gemma_devcluster.waiting import await_value

START_SECONDS = 60.0
CHANGE_SECONDS = 60.0
_PORTS = re.compile(r"probes on port (\d+), metrics on port (\d+)")


def kubeconfig_for(administrator: Path, token: str, server: str | None = None) -> str:
    """The administrator's kubeconfig with a token instead of his certificate, and perhaps another address."""
    config = yaml.safe_load(administrator.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    if server is not None:
        for cluster in config["clusters"]:
            cluster["cluster"] = {"server": server}
    return yaml.safe_dump(config)


class OperatorProcess:
    """`gemma-operator run` with settings of the test's own, on free ports."""

    def __init__(
        self, kubeconfig: Path, folder: Path, settings: dict[str, Any], arguments: Sequence[str] = ()
    ) -> None:
        self._kubeconfig = kubeconfig
        self._log = folder / "operator.log"
        self._settings = folder / "settings.yaml"
        self._settings.write_text(yaml.safe_dump(settings))
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: tuple[int, int] = (0, 0)

    def start(self, wait: bool = True) -> None:
        """Start; returns when it follows everything."""
        with self._log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gemma_operator", "run", "--settings", str(self._settings),
                 "--health-port", "0", "--metrics-port", "0", *self._arguments],
                env={**os.environ, "KUBECONFIG": str(self._kubeconfig)}, stdout=log, stderr=log,
            )  # fmt: skip
        if not wait:
            return
        health, metrics = await_value(lambda: self._find_ports(begin), START_SECONDS, "the operator's ports")
        self._ports = health, metrics
        await_value(lambda: self.is_ready() or None, START_SECONDS, "the operator to follow everything")

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, as the kubelet would; returns the exit code."""
        return self._end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_ended(self, seconds: float = CHANGE_SECONDS) -> int:
        """Until the process has ended by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    def is_ready(self) -> bool:
        return self.probe("readyz")[0] == 200

    def probe(self, name: str) -> tuple[int, str]:
        """Status and text of `/healthz` or `/readyz`."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._ports[0]}/{name}", trust_env=False)
        except httpx.TransportError as error:
            return 0, str(error)
        return answer.status_code, answer.text

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that have these labels."""
        page = httpx.get(f"http://127.0.0.1:{self._ports[1]}/metrics", trust_env=False).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def reconciles(self) -> float:
        """Reconciles that have ended, however."""
        return self.metric("gemma_operator_reconcile_seconds_count")

    def wait_reconciles(self, count: float) -> None:
        """Until so many have ended since the process started."""
        await_value(lambda: self.reconciles() >= count or None, CHANGE_SECONDS, f"{count} reconciles")

    def _find_ports(self, begin: int) -> tuple[int, int] | None:
        assert self._process is not None
        text = self._log.read_bytes()[begin:].decode()
        assert self._process.poll() is None, text
        found = _PORTS.search(text)
        return (int(found[1]), int(found[2])) if found else None

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(CHANGE_SECONDS)
