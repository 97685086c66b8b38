"""What every container and every pod has in common: security, mounts, images, small volumes."""

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.quantity import format_bytes
from gemma_operator.planning.origin import ClaimOrigin, MountedOrigin
from gemma_operator.settings import ContainerSettings, OperatorSettings

USER = 1000
"""Uid and gid of every process: `triton-server` in NVIDIA's images, and the user of ours."""


def container_basics(name: str, image: str, settings: OperatorSettings) -> Manifest:
    """Name, image and hardening that Pod Security *restricted* asks for, and a read-only root on top."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        # A crash without a message of its own is explained by its last log lines.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def pod_basics(service_account: str | None, settings: OperatorSettings) -> Manifest:
    """Identity and isolation of a pod; without an account of its own it has the namespace's default one."""
    basics: Manifest = {
        **({} if service_account is None else {"serviceAccountName": service_account}),
        "automountServiceAccountToken": False,
        # Variables named after every Service of the namespace are noise, and leak who else is there.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # Changing the owner of every file of a checkpoint at every mount takes minutes.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if settings.image_pull_secrets:
        basics["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return basics


def own_resources(settings: ContainerSettings) -> Manifest:
    """Resources of one of our own containers."""
    return {
        "requests": {"cpu": settings.cpu, "memory": settings.memory},
        "limits": {"memory": settings.memory},
    }


def variable(name: str, value: str) -> Manifest:
    """One environment variable."""
    return {"name": name, "value": value}


def mount(name: str, path: str, *, read_only: bool = False) -> Manifest:
    """One volume mount."""
    mounted: Manifest = {"name": name, "mountPath": path}
    if read_only:
        mounted["readOnly"] = True
    return mounted


def empty_volume(name: str, size_bytes: int, medium: str | None = None) -> Manifest:
    """A scratch volume that cannot fill the node."""
    empty: Manifest = {"sizeLimit": format_bytes(size_bytes)}
    if medium is not None:
        empty["medium"] = medium
    return {"name": name, "emptyDir": empty}


def claim_volume(name: str, claim_name: str, *, read_only: bool) -> Manifest:
    """A volume from a claim."""
    claim: Manifest = {"claimName": claim_name}
    if read_only:
        claim["readOnly"] = True
    return {"name": name, "persistentVolumeClaim": claim}


def mounted_volume(name: str, origin: MountedOrigin) -> Manifest:
    """A volume whose files are there already."""
    if isinstance(origin, ClaimOrigin):
        return claim_volume(name, origin.claim_name, read_only=True)
    # Without a pull policy, the kubelet's own: always for the tag `latest`, else if not present.
    return {"name": name, "image": {"reference": origin.reference}}


def scheduling(settings: OperatorSettings) -> Manifest:
    """Where any pod may go, whatever it does."""
    fields: Manifest = {}
    if settings.pods.node_selector:
        fields["nodeSelector"] = dict(settings.pods.node_selector)
    if settings.pods.tolerations:
        fields["tolerations"] = [
            toleration.model_dump(exclude_none=True) for toleration in settings.pods.tolerations
        ]
    return fields
