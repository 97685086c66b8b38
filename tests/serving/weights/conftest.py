import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_devcluster.mirror import WeightsMirror
from support.hub import Fetcher, write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models")


@pytest.fixture
def mirror(model: Path) -> Iterator[WeightsMirror]:
    with WeightsMirror(model.parents[1]) as server:
        yield server


@pytest.fixture
def fetcher(mirror: WeightsMirror, tmp_path: Path) -> Fetcher:
    return Fetcher(mirror, tmp_path / "volume")


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server on loopback proves itself with, and the only CA that vouches for it."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "needs openssl to make a certificate"
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    making = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-days", "1"]
    subprocess.run([*making, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
