"""What the client of Prometheus says of answers that are none."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from gemma_operator.kube.prometheus import PrometheusError, connected

REFUSAL = b'{"status": "error", "errorType": "bad_data", "error": "parse error: unexpected end of input"}'
ANSWERS = {
    "refusal": (400, REFUSAL),
    "proxy": (502, b"<html>Bad Gateway</html>"),
    "page": (200, b"<html>Welcome</html>"),
    "other": (200, b'{"status": "success"}'),
}


class Server(ThreadingHTTPServer):
    """Answers by the first part of the path; `slow` waits until the test is over."""

    token: str | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Api)
        self.over = Event()


class Api(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.token = self.headers["Authorization"]
        kind = self.path.split("/")[1]
        if kind == "slow":
            self.server.over.wait()
            return
        status, body = ANSWERS[kind]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("refusal", 400, "parse error: unexpected end of input"),
        ("proxy", 502, "HTTP 502 Bad Gateway"),
        ("page", None, "none of Prometheus' API"),
        ("other", None, "none of Prometheus' API"),
        ("slow", None, "no answer within 0.2 s"),
    ],
)
async def test_each_failure_has_its_words(server: Server, kind: str, status: int | None, words: str) -> None:
    timeout = 0.2 if kind == "slow" else 60
    async with connected(f"http://127.0.0.1:{server.server_port}/{kind}", timeout) as prometheus:
        with pytest.raises(PrometheusError, match=words) as failure:
            await prometheus.instant("up")
    assert failure.value.status == status


async def test_nobody_there_is_told_without_talk_of_tls() -> None:
    async with connected("http://127.0.0.1:9", 60) as prometheus:
        with pytest.raises(PrometheusError, match="cannot connect") as failure:
            await prometheus.instant("up")
    assert "ssl" not in str(failure.value)


async def test_the_token_goes_with_each_question(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    url = f"http://127.0.0.1:{server.server_port}/refusal"
    async with connected(url, 60, tmp_path / "token") as prometheus:
        with pytest.raises(PrometheusError):
            await prometheus.instant("up")
    assert server.token == "Bearer secret"
