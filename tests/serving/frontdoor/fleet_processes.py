"""A fleet as processes of this machine: gateways with scripted engines, and front doors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from kubernetes_api import KubernetesApi

from serving import config

NAMESPACE = "fleet"
SCRIPT = Path(__file__).parents[1] / "gateway" / "scripted_gateway.py"
START_SECONDS = 90
"""Of an interpreter and its imports, on two cores that others use as well."""


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def until(holds: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Look again and again; for what another process does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Process:
    """A gateway, or a front door."""

    name: str
    popen: subprocess.Popen[bytes]
    port: int
    admin_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        """What the kubelet asks."""
        assert self.popen.poll() is None, f"{self.name} has ended"
        try:
            return httpx.get(f"http://127.0.0.1:{self.admin_port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def metric(self, name: str, **labels: str) -> float:
        """A sample of its page; 0 without one."""
        wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        for line in httpx.get(f"http://127.0.0.1:{self.admin_port}/metrics").text.splitlines():
            if line.startswith(f"{name}{{{wanted}}} "):
                return float(line.rpartition(" ")[2])
        return 0.0


class FleetProcesses:
    """Starts processes and tells the API of pods as the kubelet and the EndpointSlice controller do."""

    def __init__(self, stack: ExitStack, api: KubernetesApi, folder: Path) -> None:
        self._stack = stack
        self._api = api
        self._folder = folder

    def begin_gateway(self, endpoint: str, name: str, pieces: int, delay_seconds: float) -> Process:
        """A pod of the endpoint, every token of which says its name; not ready yet."""
        folder = self._folder / name
        folder.mkdir()
        settings = folder / "runtime.json"
        settings.write_text(
            config(
                model=endpoint,
                max_concurrent_requests=64,
                max_queued_requests=64,
                endpoint_removal_seconds=1,
            ).to_json()
        )
        handshake = folder / "drained"
        port, admin_port = free_port(), free_port()
        given = [SCRIPT, settings, port, admin_port, handshake, pieces, delay_seconds, f"{name}/"]
        return self._begin(name, given, port, admin_port)

    def begin_door(self, name: str, routes: list[dict[str, Any]]) -> Process:
        """The front door as its container starts it."""
        settings = self._folder / f"{name}.json"
        settings.write_text(json.dumps({"routes": routes}))
        port, admin_port = free_port(), free_port()
        given = ["-m", "gemma_serving.frontdoor", "--config", settings, "--host", "127.0.0.1"]
        given += ["--port", port, "--admin-port", admin_port, "--account", self._api.account]
        return self._begin(name, given, port, admin_port)

    def _begin(self, name: str, arguments: list[Any], port: int, admin_port: int) -> Process:
        environment = {
            **os.environ,
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._api.port),
        }
        popen = subprocess.Popen([sys.executable, *map(str, arguments)], env=environment)
        self._stack.callback(popen.wait)
        self._stack.callback(popen.kill)
        return Process(name, popen, port, admin_port)

    def put_ready(self, endpoint: str, pod: Process) -> None:
        """Wait for the pod, and let requests come to it."""
        until(pod.is_ready, f"{pod.name} to be ready")
        self._api.put_slice(NAMESPACE, endpoint, {pod.port: True})

    def take_out(self, endpoint: str, pod: Process) -> None:
        """No requests any more."""
        self._api.put_slice(NAMESPACE, endpoint, {pod.port: False})

    def terminate(self, endpoint: str, pod: Process) -> None:
        """As a rollout or a scale-down does: out of the slice and SIGTERM, in the same moment."""
        self.take_out(endpoint, pod)
        pod.popen.send_signal(signal.SIGTERM)
