"""What programs installed as pods have in common: manifests of their modules, certificates, patience."""

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemma_devcluster import pki
from gemma_devcluster.addresses import CLUSTER_DOMAIN
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.objects import Manifest
from gemma_devcluster.toolsets import ToolSet

PROBE = {"periodSeconds": 2, "failureThreshold": 30, "timeoutSeconds": 5}
PATIENCE = {"timeoutSeconds": 10, "failureThreshold": 12}
"""A machine whose cores are all taken is no reason to start a pod again: the usual limit is 1 s, thrice."""
READY_TIMEOUT = "--timeout=240s"


def module_folder(tool_set: ToolSet) -> Path:
    """The module that a tool set pins, as it was published.

    Raises:
        DevclusterError: the module cannot be fetched.
    """
    command = ["go", "mod", "download", "-json", tool_set.version_module]
    done = subprocess.run(command, cwd=tool_set.folder, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise DevclusterError(
            f"`{' '.join(command)}` failed in {tool_set.folder}:\n    {words}\n"
            "  do: check that the Go module proxy answers (`go env GOPROXY`)"
        )
    return Path(json.loads(done.stdout)["Dir"])


def serving_certificate(name: str, namespace: str, services: Sequence[str]) -> pki.Certificate:
    """One with every name by which the Services are called."""
    suffixes = (namespace, f"{namespace}.svc", f"{namespace}.svc.{CLUSTER_DOMAIN}")
    names = tuple(f"DNS:{service}.{suffix}" for service in services for suffix in suffixes)
    return pki.Certificate(name, name, alternative_names=names)


def certificate_files(cluster: Cluster, certificate: pki.Certificate) -> dict[str, str]:
    """Its `tls.crt` and `tls.key`, and the authority's `ca.crt`, in base64; made where there is none yet."""
    folder = cluster.layout.pki
    pki.write(folder, [certificate])
    files = {
        "ca.crt": folder / f"{pki.CLUSTER_CA}.crt",
        "tls.crt": folder / f"{certificate.name}.crt",
        "tls.key": folder / f"{certificate.name}.key",
    }
    return {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}


def secret(name: str, namespace: str, files: dict[str, str]) -> Manifest:
    """The Secret with a certificate's files."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": files}


def with_container(
    deployment: Manifest, changes: dict[str, Any], pod: dict[str, Any] | None = None
) -> Manifest:
    """A Deployment whose one container has the changes, and whose pod has those of `pod`."""
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    changed = {**template["spec"], **(pod or {}), "containers": [{**container, **changes}]}
    return {**deployment, "spec": {**deployment["spec"], "template": {**template, "spec": changed}}}


def await_rollout(cluster: Cluster, namespace: str, deployment: str) -> None:
    """Until all its pods are those that were applied, and ready."""
    cluster.kubectl.run("-n", namespace, "rollout", "status", f"deployment/{deployment}", READY_TIMEOUT)


def await_api(cluster: Cluster, name: str) -> None:
    """Until the API server reaches an aggregated API, such as `v1beta1.metrics.k8s.io`."""
    cluster.kubectl.run("wait", f"apiservice/{name}", "--for=condition=Available", READY_TIMEOUT)
