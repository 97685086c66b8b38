"""The two collections that the front door follows, listed and watched over TLS as the API server's.

It stands in for the API server at the process border, so that pods can be ports of this machine: a real one
refuses loopback addresses in an EndpointSlice.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
TOKEN = "a-token-of-the-front-door"
WATCH_LOOK_SECONDS = 0.2


class KubernetesApi:
    """Objects by plural, and what happened to them, in order."""

    def __init__(self, port: int, account: Path) -> None:
        self.port = port
        self.account = account
        """Token and authority, as the kubelet mounts them."""
        self.is_over = False
        self.changed = threading.Condition()
        self._objects: dict[str, dict[tuple[str, str], Object]] = {
            "gemmadeployments": {},
            "endpointslices": {},
        }
        self._events: list[tuple[str, Object]] = []

    def put_deployment(self, namespace: str, name: str, **spec: Any) -> None:
        """A GemmaDeployment."""
        self._put("gemmadeployments", {"metadata": {"namespace": namespace, "name": name}, "spec": spec})

    def put_slice(self, namespace: str, name: str, ports: dict[int, bool]) -> None:
        """Pods of a GemmaDeployment on this machine, by port; whether each is ready.

        One slice for each pod, since a slice has one number for its port.
        """
        for port, is_ready in ports.items():
            labels = {
                "serving.gemma-operator.dev/role": "serving",
                "serving.gemma-operator.dev/deployment": name,
            }
            self._put(
                "endpointslices",
                {
                    "metadata": {"namespace": namespace, "name": f"{name}-{port}", "labels": labels},
                    "ports": [{"name": "http", "port": port}],
                    "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": is_ready}}],
                },
            )

    def _put(self, plural: str, given: Object) -> None:
        with self.changed:
            metadata = {**given["metadata"], "resourceVersion": str(len(self._events) + 1)}
            stored = {**given, "metadata": metadata}
            self._objects[plural][metadata["namespace"], metadata["name"]] = stored
            self._events.append((plural, stored))
            self.changed.notify_all()

    def listed(self, plural: str) -> Object:
        """A list."""
        with self.changed:
            version = {"resourceVersion": str(len(self._events))}
            return {"metadata": version, "items": list(self._objects[plural].values())}

    def after(self, plural: str, version: int) -> tuple[list[Object], int]:
        """What was written later, and the version up to which that is all."""
        with self.changed:
            if len(self._events) == version:
                self.changed.wait(WATCH_LOOK_SECONDS)
            return [found for kind, found in self._events[version:] if kind == plural], len(self._events)


def _handler(api: KubernetesApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            plural, asked = parts.path.rpartition("/")[2], parse_qs(parts.query)
            assert self.headers["authorization"] == f"Bearer {TOKEN}"
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            if "watch" in asked:
                self._watch(plural, int(asked["resourceVersion"][0]))
            else:
                self.wfile.write(json.dumps(api.listed(plural)).encode())

        def _watch(self, plural: str, version: int) -> None:
            with suppress(OSError):  # whoever watched has ended
                while not api.is_over:
                    found, version = api.after(plural, version)
                    for each in found:
                        self.wfile.write(json.dumps({"type": "MODIFIED", "object": each}).encode() + b"\n")

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[KubernetesApi]:
    """Serve until the block ends."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "needs openssl to make a certificate"
    key, authority = folder / "key.pem", folder / "ca.crt"
    (folder / "token").write_text(f"{TOKEN}\n")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    making = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
    subprocess.run([*making, "-keyout", str(key), "-out", str(authority)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    api = KubernetesApi(server.server_address[1], folder)
    server.RequestHandlerClass = _handler(api)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.is_over = True
        server.shutdown()
        server.server_close()
        thread.join(10)
