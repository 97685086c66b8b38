"""The ServiceAccount of the pods."""

from gemma_operator.api.manifest import SERVING, Manifest, Owner, short_name
from gemma_operator.resources.layout import object_metadata


def service_account(owner: Owner) -> Manifest:
    """An identity without permissions or token: nothing in the pods talks to the Kubernetes API."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": object_metadata(owner, short_name(owner.name), SERVING),
        "automountServiceAccountToken": False,
    }
