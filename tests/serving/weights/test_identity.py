"""How a pod that fetches from a bucket becomes known to the store, and what it never tells."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_serving.contract import bucket_folder
from gemma_serving.weights.google_identity import RENEWAL_SECONDS, GoogleIdentity
from gemma_serving.weights.outcome import SourceUnavailableError
from support.bucket import BUCKET, FOLDER, WEIGHTS, WEIGHTS_SIZE, fill
from support.object_store import (
    ACCESS_KEY,
    GOOGLE_TOKEN,
    POD_IDENTITY_PATH,
    SECRET_KEY,
    SERVICE_ACCOUNT_TOKEN,
    SESSION_TOKEN,
    Misbehaviour,
    ObjectStore,
)

SECRETS = (SECRET_KEY, SESSION_TOKEN, SERVICE_ACCOUNT_TOKEN, GOOGLE_TOKEN)
TOKEN_SECONDS = 3599


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as server:
        fill(server)
        server.misbehave(Misbehaviour(keeps_out=True))
        yield server


class Command:
    """`python -m gemma_serving.weights` as the kubelet runs it, with no environment but what is given."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self.store = store
        self.endpoint = store.url
        self.target = folder / "volume"
        self.log = folder / "termination-log"
        self.log.touch()

    def run(self, scheme: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        uri = f"{scheme}://{BUCKET}/{FOLDER}"
        arguments = ["--uri", uri, "--endpoint", self.endpoint, "--target", str(self.target)]
        arguments += ["--file", "*.safetensors", "--termination-log", str(self.log)]
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "gemma_serving.weights", *arguments],
            env=kept | {"NO_PROXY": "*", "HOME": str(self.target)} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def message(self) -> dict[str, object]:
        parsed = json.loads(self.log.read_text())
        assert isinstance(parsed, dict)
        return parsed

    def file(self, scheme: str) -> Path:
        folder = bucket_folder(f"{scheme}://{BUCKET}/{FOLDER}", self.store.url)
        return self.target / folder / "latest" / WEIGHTS


@pytest.fixture
def command(store: ObjectStore, tmp_path: Path) -> Command:
    return Command(store, tmp_path)


KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(SERVICE_ACCOUNT_TOKEN)
    return str(path)


def web_identity(store: ObjectStore, token_file: str) -> dict[str, str]:
    """What the webhook of IRSA puts into a pod; the service's address is the test's."""
    return {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/weights",
        "AWS_WEB_IDENTITY_TOKEN_FILE": token_file,
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_STS": store.url,
    }


def pod_identity(store: ObjectStore, token_file: str) -> dict[str, str]:
    """What EKS Pod Identity puts into a pod."""
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{store.url}{POD_IDENTITY_PATH}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token_file,
    }


@pytest.mark.parametrize("given", ["keys", "temporary keys", "web identity", "pod identity", "google"])
def test_each_kind_of_identity_is_let_in_and_told_to_nobody(
    command: Command, token_file: str, given: str
) -> None:
    scheme = "gs" if given == "google" else "s3"
    environment = {
        "keys": KEYS,
        "temporary keys": {**KEYS, "AWS_SESSION_TOKEN": SESSION_TOKEN},
        "web identity": web_identity(command.store, token_file),
        "pod identity": pod_identity(command.store, token_file),
        "google": {"GCE_METADATA_HOST": command.store.host},
    }[given]
    done = command.run(scheme, **environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert command.message()["bytes_done"] == WEIGHTS_SIZE
    assert command.file(scheme).stat().st_size == WEIGHTS_SIZE
    written = [path for path in command.target.rglob("*") if path.is_file() and path.name != WEIGHTS]
    everything = done.stdout + done.stderr + command.log.read_text()
    everything += "".join(path.read_text(errors="replace") for path in written)
    assert not [secret for secret in SECRETS if secret in everything]


@pytest.mark.parametrize(
    ("environment", "reason", "words"),
    [
        ({}, "TokenRequired", "credentialsSecretRef"),
        ({**KEYS, "AWS_SECRET_ACCESS_KEY": "planted-other"}, "AccessDenied", "renew the Secret"),
        ({**KEYS, "AWS_ACCESS_KEY_ID": "AKIAOTHER"}, "AccessDenied", "InvalidAccessKeyId"),
        ({"AWS_ACCESS_KEY_ID": ACCESS_KEY}, "AccessDenied", "secretAccessKey"),
    ],
    ids=["none", "wrong secret", "unknown key", "half of it"],
)
def test_keys_that_do_not_fit_are_told_with_what_to_do(
    command: Command, environment: dict[str, str], reason: str, words: str
) -> None:
    done = command.run("s3", **environment)
    assert done.returncode == 1
    assert command.message()["reason"] == reason
    assert words in str(command.message()["message"])
    assert "planted" not in done.stdout + done.stderr


def test_a_role_that_the_pod_may_not_assume_is_named_as_the_cause(command: Command, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("another token")
    done = command.run("s3", **web_identity(command.store, str(tmp_path / "other")))
    assert done.returncode == 1
    assert command.message()["reason"] == "AccessDenied"
    assert "trust policy" in str(command.message()["message"])


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_store_is_reached_through_the_proxy_and_the_metadata_server_is_not(
    command: Command, scheme: str
) -> None:
    command.endpoint = "http://store.invalid"
    done = command.run(
        scheme, HTTP_PROXY=command.store.url, NO_PROXY="", GCE_METADATA_HOST=command.store.host, **KEYS
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert command.store.state.tokens_given == (1 if scheme == "gs" else 0)


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_private_authority_is_trusted_through_the_environment_and_missed_by_name(
    tmp_path: Path, authority: tuple[ssl.SSLContext, Path], scheme: str
) -> None:
    context, certificate = authority
    with ObjectStore(context) as store, ObjectStore() as metadata:
        fill(store)
        command = Command(store, tmp_path)
        environment = {**KEYS, "GCE_METADATA_HOST": metadata.host}
        assert command.run(scheme, **environment).returncode == 1
        assert "SSL_CERT_FILE" in str(command.message()["message"])
        done = command.run(scheme, **environment, SSL_CERT_FILE=str(certificate))
        assert done.returncode == 0, done.stderr + done.stdout


def test_a_revision_of_a_bucket_is_refused(command: Command) -> None:
    line = [sys.executable, "-m", "gemma_serving.weights", "--uri", "gs://b-1/x", "--revision", "main"]
    done = subprocess.run(
        [*line, "--target", str(command.target), "--file", "*"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "what lies there now" in done.stderr


def test_a_google_token_is_renewed_before_it_ends(store: ObjectStore) -> None:
    now = 0.0
    identity = GoogleIdentity(store.host, clock=lambda: now)
    assert identity.token() == identity.token() == GOOGLE_TOKEN
    assert store.state.tokens_given == 1
    now = TOKEN_SECONDS - RENEWAL_SECONDS
    assert identity.token() == GOOGLE_TOKEN
    assert store.state.tokens_given == 2


def test_a_pod_without_a_google_identity_says_why(store: ObjectStore) -> None:
    store.state.token_status = 404
    identity = GoogleIdentity(store.host)
    assert identity.token() is None
    assert identity.lack == "the metadata server answered 404"


def test_a_metadata_server_that_is_not_ready_is_asked_again(store: ObjectStore) -> None:
    store.state.token_status = 503
    identity = GoogleIdentity(store.host)
    with pytest.raises(SourceUnavailableError, match="503"):
        identity.token()
    store.state.token_status = 200
    assert identity.token() == GOOGLE_TOKEN
