"""`python -m gemma_serving.weights` as the kubelet runs it: a process with a termination message."""

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_devcluster.mirror import ACCEPTED_TOKEN, Faults, WeightsMirror
from gemma_operator.api.reasons import Reason as OperatorReason
from gemma_serving.contract import repository_folder
from gemma_serving.weights.outcome import Outcome, Reason
from support.hub import REPOSITORY, WEIGHTS, WEIGHTS_SIZE, Fetcher

KUBELET_KEEPS_BYTES = 4096
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


class Command:
    """Runs the fetcher against a mirror, with a volume and a termination log of its own."""

    def __init__(self, mirror: WeightsMirror, folder: Path) -> None:
        self.endpoint = mirror.url
        self.target = folder / "volume"
        self.log = folder / "termination-log"
        self.log.touch()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        } | {"NO_PROXY": "*"}

    def line(self, *extra: str) -> list[str]:
        arguments = ["--repository", REPOSITORY, "--endpoint", self.endpoint, "--target", str(self.target)]
        arguments += ["--file", "*.gguf", "--termination-log", str(self.log)]
        return [sys.executable, "-m", "gemma_serving.weights", *extra, *arguments]

    def run(self, *extra: str, prefix: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*prefix, *self.line(*extra)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def message(self) -> dict[str, object]:
        parsed = json.loads(self.log.read_text())
        assert isinstance(parsed, dict)
        return parsed


@pytest.fixture
def command(mirror: WeightsMirror, tmp_path: Path) -> Command:
    return Command(mirror, tmp_path)


def test_success_is_exit_0_and_a_termination_message(command: Command) -> None:
    done = command.run()
    assert done.returncode == 0, done.stderr
    message = command.message()
    assert message["reason"] == "WeightsReady"
    assert message["bytes_done"] == message["bytes_total"] == WEIGHTS_SIZE
    assert set(message) == {"reason", "message", "revision", "bytes_done", "bytes_total"}


def test_every_line_of_the_log_is_json_and_the_last_is_the_message(command: Command) -> None:
    lines = command.run().stdout.splitlines()
    assert json.loads(lines[-1]) == command.message()
    assert all("reason" in json.loads(line) for line in lines)


def test_failure_is_another_exit_code_with_the_reason(command: Command, mirror: WeightsMirror) -> None:
    mirror.set_faults(REPOSITORY, Faults(gated=True))
    done = command.run()
    assert done.returncode == 1
    assert command.message()["reason"] == "TokenRequired"


def test_the_token_is_in_no_line_file_or_argument(command: Command, mirror: WeightsMirror) -> None:
    mirror.set_faults(REPOSITORY, Faults(gated=True))
    for token, code in (("hf_planted-stranger", 1), (ACCEPTED_TOKEN, 0)):
        command.environment["HF_TOKEN"] = token
        done = command.run()
        assert done.returncode == code, done.stderr
        written = [path for path in command.target.rglob("*") if path.is_file() and path.name != WEIGHTS]
        everything = done.stdout + done.stderr + command.log.read_text()
        everything += "".join(path.read_text(errors="replace") for path in written)
        assert token not in everything


def test_a_server_may_have_a_folder_of_its_own(command: Command) -> None:
    """Where the operator looks for an adapter of that server."""
    assert command.run("--server-folder").returncode == 0
    assert (command.target / repository_folder(REPOSITORY, command.endpoint) / "main").is_dir()
    assert not (command.target / repository_folder(REPOSITORY)).exists()


def test_a_password_in_the_endpoint_is_not_repeated(command: Command, mirror: WeightsMirror) -> None:
    command.endpoint = mirror.url.replace("http://", "http://user:planted-secret@")
    mirror.set_faults(REPOSITORY, Faults(gated=True))
    done = command.run()
    assert "planted-secret" not in done.stdout + done.stderr + command.log.read_text()


def resumed_bytes(fetcher: Fetcher) -> int:
    """Bytes of the one transfer that began in the middle; the mirror may log the broken one later."""
    (sent,) = [sent for wanted, sent in fetcher.transfers() if wanted is not None]
    return sent


def test_a_terminated_fetch_says_so_and_the_next_one_resumes(
    command: Command, mirror: WeightsMirror, fetcher: Fetcher
) -> None:
    mirror.set_faults(REPOSITORY, Faults(bytes_per_second=1_000_000))
    process = subprocess.Popen(command.line(), env=command.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            if json.loads(line)["bytes_done"] > 0:
                process.send_signal(signal.SIGTERM)
                break
        lines.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert command.message()["reason"] == "Fetching"
    mirror.set_faults(REPOSITORY, Faults())
    assert command.run().returncode == 0
    assert resumed_bytes(fetcher) < WEIGHTS_SIZE


def test_a_killed_fetch_is_resumed(command: Command, mirror: WeightsMirror, fetcher: Fetcher) -> None:
    mirror.set_faults(REPOSITORY, Faults(bytes_per_second=1_000_000))
    process = subprocess.Popen(command.line(), env=command.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            if json.loads(line)["bytes_done"] > 0:
                process.kill()
                break
    mirror.set_faults(REPOSITORY, Faults())
    assert command.run().returncode == 0
    assert resumed_bytes(fetcher) < WEIGHTS_SIZE


def test_two_pods_on_one_volume_fetch_once_between_them(
    command: Command, mirror: WeightsMirror, fetcher: Fetcher, model: Path
) -> None:
    mirror.set_faults(REPOSITORY, Faults(bytes_per_second=3_000_000))
    pods = [
        subprocess.Popen(command.line(), env=command.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [pod.communicate(timeout=60)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0]
    assert [sent for _, sent in fetcher.transfers()] == [WEIGHTS_SIZE]
    assert any("another pod is fetching" in text for text in said)
    assert (command.target / "acme--tiny" / "main" / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()


@AS_ROOT
def test_a_small_file_system_is_told_with_what_is_needed_and_what_there_is(command: Command) -> None:
    command.target.mkdir()
    mount = f'mount -t tmpfs -o size=1m tmpfs {command.target} && exec "$@"'
    done = command.run(prefix=("unshare", "--mount", "sh", "-c", mount, "sh"))
    assert done.returncode == 1, done.stderr
    message = command.message()
    assert message["reason"] == "NoSpace"
    assert "needs 3.0 MB" in str(message["message"])
    assert "1.0 MB free" in str(message["message"])


def test_a_proxy_from_the_environment_is_used(command: Command, mirror: WeightsMirror) -> None:
    del command.environment["NO_PROXY"]
    command.environment["HTTP_PROXY"] = mirror.url
    command.endpoint = "http://hub.invalid"
    assert command.run().returncode == 0
    assert all(request.path.startswith("http://hub.invalid/") for request in mirror.requests)


@pytest.fixture
def tls(model: Path, authority: tuple[ssl.SSLContext, Path]) -> Iterator[tuple[str, Path]]:
    """An https mirror whose certificate only its own CA vouches for."""
    context, certificate = authority
    with WeightsMirror(model.parents[1], tls=context) as server:
        yield server.url, certificate


def test_a_private_certificate_authority_is_trusted_through_the_environment(
    command: Command, tls: tuple[str, Path]
) -> None:
    command.endpoint, certificate = tls
    command.environment["SSL_CERT_FILE"] = str(certificate)
    assert command.run().returncode == 0
    assert command.message()["reason"] == "WeightsReady"


def test_an_untrusted_certificate_is_named_as_the_cause(command: Command, tls: tuple[str, Path]) -> None:
    command.endpoint, _ = tls
    command.environment.pop("SSL_CERT_FILE", None)
    assert command.run().returncode == 1
    assert "SSL_CERT_FILE" in str(command.message()["message"])


def test_verify_answers_from_the_manifest_alone(command: Command, mirror: WeightsMirror) -> None:
    assert command.run().returncode == 0
    before = len(mirror.requests)
    done = command.run("verify", "--wait-seconds", "0")
    assert done.returncode == 0
    assert command.message()["bytes_total"] == WEIGHTS_SIZE
    assert len(mirror.requests) == before


def test_verify_gives_up_with_pending_when_nobody_has_fetched(command: Command) -> None:
    assert command.run("verify", "--wait-seconds", "0").returncode == 1
    assert command.message()["reason"] == "WeightsPending"


@pytest.mark.parametrize(
    "arguments", [("--repository", "../x"), ("--revision", "../../etc"), ("--revision", "/x")]
)
def test_names_that_leave_the_volume_are_refused(command: Command, arguments: tuple[str, ...]) -> None:
    line = [*command.line(), *arguments]
    done = subprocess.run(line, env=command.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not" in done.stderr


def test_an_endpoint_that_is_something_else_is_named(command: Command) -> None:
    command.endpoint = "ftp://127.0.0.1"
    command.run()
    assert command.message()["reason"] == "FetchFailed"
    assert "http(s)" in str(command.message()["message"])


def test_every_reason_is_one_of_the_operator() -> None:
    assert {reason.value for reason in Reason} <= {reason.value for reason in OperatorReason}


def test_a_long_message_stays_valid_json_within_what_the_kubelet_keeps() -> None:
    text = Outcome(Reason.FETCH_FAILED, "é" * 10_000, "0" * 40, 1, 2).to_json()
    assert len(text.encode()) <= KUBELET_KEEPS_BYTES
    assert json.loads(text)["message"].startswith("ééé")
