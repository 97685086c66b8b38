"""Kubeconfigs with everything embedded, so that one file is enough to reach the cluster."""

import base64
from pathlib import Path

import yaml

from gemma_devcluster.addresses import Addresses
from gemma_devcluster.pki import CLUSTER_CA


def kubeconfig(pki: Path, addresses: Addresses, cluster: str, certificate: str) -> str:
    """A kubeconfig that calls cluster `cluster` with the named certificate."""
    context = f"devcluster-{cluster}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": addresses.api_server_url,
                    "certificate-authority-data": _embedded(pki / f"{CLUSTER_CA}.crt"),
                },
            }
        ],
        "users": [
            {
                "name": context,
                "user": {
                    "client-certificate-data": _embedded(pki / f"{certificate}.crt"),
                    "client-key-data": _embedded(pki / f"{certificate}.key"),
                },
            }
        ],
    }
    return yaml.safe_dump(content, sort_keys=False)


def write(path: Path, content: str) -> None:
    """Write a file that holds a private key: readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(content)


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
