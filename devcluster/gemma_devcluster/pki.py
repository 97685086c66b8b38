"""The cluster's certificates: two authorities and one certificate per component, made by openssl."""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster.addresses import CLUSTER_DOMAIN, Addresses
from gemma_devcluster.errors import DevclusterError

CLUSTER_CA = "ca"
FRONT_PROXY_CA = "front-proxy-ca"
SERVICE_ACCOUNT_KEY = "service-account"
VALID_DAYS = 3650


@dataclass(frozen=True)
class Certificate:
    """One certificate: its file name, subject, alternative names and who signs it."""

    name: str
    common_name: str
    organization: str = ""
    alternative_names: tuple[str, ...] = ()
    authority: str = CLUSTER_CA

    @property
    def subject(self) -> str:
        """The subject as openssl reads it."""
        organization = f"/O={self.organization}" if self.organization else ""
        return f"{organization}/CN={self.common_name}"


def certificates(addresses: Addresses, nodes: Iterable[str]) -> list[Certificate]:
    """Every certificate a cluster needs; users' names are those Kubernetes' bootstrap roles are bound to."""
    service = f"kubernetes.default.svc.{CLUSTER_DOMAIN}".split(".")
    api_names = [f"DNS:{'.'.join(service[:count])}" for count in range(1, len(service) + 1)]
    api_addresses = [f"IP:{ip}" for ip in (addresses.api_service, addresses.machine, "127.0.0.1")]
    return [
        Certificate(
            "apiserver", "kube-apiserver", alternative_names=("DNS:localhost", *api_names, *api_addresses)
        ),
        Certificate("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        Certificate("front-proxy-client", "front-proxy-client", authority=FRONT_PROXY_CA),
        Certificate("admin", "devcluster-admin", "system:masters"),
        Certificate("controller-manager", "system:kube-controller-manager"),
        Certificate("scheduler", "system:kube-scheduler"),
        Certificate("kube-proxy", "system:kube-proxy"),
        Certificate("kube-router", "devcluster:kube-router"),
        Certificate("provisioner", "devcluster:provisioner"),
        *(
            Certificate(
                f"kubelet-{node}",
                f"system:node:{node}",
                "system:nodes",
                (f"DNS:{node}", f"IP:{addresses.machine}"),
            )
            for node in nodes
        ),
    ]


def write(folder: Path, wanted: Iterable[Certificate]) -> None:
    """Make the authorities and certificates that are not there yet; existing ones stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for authority in (CLUSTER_CA, FRONT_PROXY_CA):
        if not (folder / f"{authority}.crt").exists():
            _openssl(authority_command(folder, authority))
    if not (folder / f"{SERVICE_ACCOUNT_KEY}.key").exists():
        _write_service_account_key(folder)
    for certificate in wanted:
        if not (folder / f"{certificate.name}.crt").exists():
            _openssl(certificate_command(folder, certificate))


def _new_key(folder: Path, name: str) -> list[str]:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    return ["req", "-x509", *curve, "-days", str(VALID_DAYS), "-keyout", f"{folder / name}.key"]


def authority_command(folder: Path, name: str) -> list[str]:
    """openssl's arguments for a self-signed authority."""
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
    return [
        *_new_key(folder, name),
        "-out",
        f"{folder / name}.crt",
        "-subj",
        f"/CN=devcluster-{name}",
        *usage,
    ]


def certificate_command(folder: Path, certificate: Certificate) -> list[str]:
    """openssl's arguments for a certificate that serves and calls."""
    authority = folder / certificate.authority
    extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
    if certificate.alternative_names:
        extensions.append(f"subjectAltName={','.join(certificate.alternative_names)}")
    command = _new_key(folder, certificate.name)
    command += ["-out", f"{folder / certificate.name}.crt", "-subj", certificate.subject]
    command += ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"]
    for extension in extensions:
        command += ["-addext", extension]
    return command


def _write_service_account_key(folder: Path) -> None:
    private, public = folder / f"{SERVICE_ACCOUNT_KEY}.key", folder / f"{SERVICE_ACCOUNT_KEY}.pub"
    _openssl(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(private)])
    _openssl(["pkey", "-in", str(private), "-pubout", "-out", str(public)])


def _openssl(arguments: Sequence[str]) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(
            f"openssl could not make a certificate (OpenSSL 3 is needed; `openssl version` tells):\n"
            f"    openssl {' '.join(arguments)}\n    {done.stderr.strip()}"
        )
