"""Puts the operator, by its Helm chart, and the weights mirror on a cluster: this machine's or another."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.images import Image
from gemma_devcluster.images.recipes import REPOSITORY_ROOT
from gemma_devcluster.kubectl import Kubectl

CHART = REPOSITORY_ROOT / "charts" / "gemma-operator"
RELEASE = "gemma-operator"
OPERATOR_NAMESPACE = "gemma-system"
MIRROR_NAMESPACE = "weights-mirror"
MIRROR_MANIFESTS = REPOSITORY_ROOT / "devcluster" / "mirror" / "manifests.yaml"
MIRROR_IMAGE = "localhost/gemma-operator/weights-mirror:latest"
"""What the manifests write; replaced by the built reference."""
MIRROR_ENDPOINT = f"http://weights-mirror.{MIRROR_NAMESPACE}.svc:8080"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}
INSTALL_TIMEOUT = "180s"


@dataclass(frozen=True)
class Helm:
    """The helm program against one kubeconfig."""

    program: Path
    kubeconfig: Path

    def run(self, *arguments: str) -> str:
        """What helm prints.

        Raises:
            DevclusterError: helm failed; its words are in the message.
        """
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        command = [str(self.program), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip()
            raise DevclusterError(f"`helm {' '.join(arguments)}` failed:\n    {words}")
        return done.stdout


def namespace(name: str, labels: Mapping[str, str] = RESTRICTED) -> dict[str, object]:
    """A Namespace; by default one that enforces Pod Security `restricted`."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}


def image_values(images: Mapping[str, Image]) -> list[str]:
    """Helm `--set` pairs that name our images by their content tags."""
    keys = {"operator": "operator", "gateway": "gateway", "triton-cpu": "tritonCpu"}
    return [f"images.{key}.tag={images[name].reference.rpartition(':')[2]}" for name, key in keys.items()]


def install_operator(
    kubectl: Kubectl, helm: Helm, images: Mapping[str, Image], extra: Sequence[str] = ()
) -> None:
    """Install the chart, or upgrade it; returns when the operator is ready.

    Args:
        kubectl: the cluster.
        helm: the same cluster.
        images: what `images.build` made.
        extra: more `--set` pairs.
    """
    kubectl.apply([namespace(OPERATOR_NAMESPACE)])
    values = [
        f"images.registry={images['operator'].reference.rpartition('/')[0]}",
        *image_values(images),
        f"settings.huggingFaceEndpoint={MIRROR_ENDPOINT}",
        *extra,
    ]
    sets = [part for value in values for part in ("--set", value)]
    arguments = ("--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", INSTALL_TIMEOUT)
    helm.run("upgrade", "--install", RELEASE, str(CHART), *arguments, *sets)


def install_mirror(kubectl: Kubectl, image: Image) -> None:
    """Serve the demo's weights inside the cluster as a Hugging Face-compatible endpoint."""
    text = MIRROR_MANIFESTS.read_text().replace(MIRROR_IMAGE, image.reference)
    kubectl.run("apply", "--server-side", "--field-manager=devcluster", "-f", "-", stdin=text)
    rollout = ("rollout", "status", "deployment/weights-mirror", f"--timeout={INSTALL_TIMEOUT}")
    kubectl.run("-n", MIRROR_NAMESPACE, *rollout)


def image_is_present(kubectl: Kubectl, reference: str) -> bool:
    """Whether a node already reports the image."""
    nodes = json.loads(kubectl.run("get", "nodes", "-o", "json"))["items"]
    images = [image for node in nodes for image in node["status"].get("images", [])]
    return any(reference in image.get("names", []) for image in images)
