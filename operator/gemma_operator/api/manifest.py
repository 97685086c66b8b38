"""The words for Kubernetes objects: manifests, keys, owners, labels and names. Plain values, no client."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from gemma_operator.api.base import API_VERSION, GROUP, KIND

Manifest = dict[str, Any]
"""A Kubernetes object as plain data."""

MANAGER = "gemma-operator"
"""Field manager of every apply, and the value of the managed-by label."""

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
APPLICATION = "gemma"
"""Value of the name label."""
OWNER_LABEL = f"{GROUP}/deployment"
"""Names the GemmaDeployment, also on pods, which are its children's children."""
ROLE_LABEL = f"{GROUP}/role"
"""What a pod does: `serving` or `weights`. With OWNER_LABEL it is the selector of the pods."""
SCRAPE_LABEL = f"{GROUP}/scrape"
"""`none` on pods that the chart's monitors leave out."""
WEIGHTS_LABEL = f"{GROUP}/weights"
"""On a weights Job: key of the weights it fetches."""
CLAIM_ANNOTATION = f"{GROUP}/claim"
"""On a weights Job: the claim it fetches into."""
SHARED_LABEL = f"{GROUP}/shared-claim"
"""On a claim of weights that several may use, its Jobs and their pods: the claim's name. Such objects are no
GemmaDeployment's: they belong to whom they refer to."""
RETAINER_PREFIX = f"retain.{GROUP}/"
"""Of annotations on a claim of weights: each has the uid of an endpoint, there or gone, that retains it."""
CONFIG_HASH_ANNOTATION = f"{GROUP}/config-hash"
"""On the pod template: hash of runtime.json, so that a change of it rolls the pods."""

TEMPLATE_HASH_ANNOTATION = f"{GROUP}/template-hash"
"""On the Deployment: hash of its pod template as rendered, which the API server's defaults do not change."""
ROLLED_BACK_ANNOTATION = f"{GROUP}/rolled-back"
"""On the Deployment: JSON of what failed, so that it is not tried again. Removing it tries again."""

SERVING = "serving"
WEIGHTS = "weights"
RECORD = "record"
"""Role of what the operator keeps for itself."""

NAME_LIMIT = 63
"""Characters of a DNS label and of a label value (RFC 1123)."""
_HASH_LENGTH = 8
_DNS_LABEL = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Identity of an object in the cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Such as `Deployment team-a/assistant`."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Owner:
    """The GemmaDeployment that its children belong to."""

    name: str
    namespace: str
    uid: str
    generation: int
    api_version: str = API_VERSION
    kind: str = KIND

    def owner_reference(self) -> Manifest:
        """Reference that makes the garbage collector delete a child with its owner."""
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def user_reference(self) -> Manifest:
        """Reference of one user among several: the garbage collector deletes the object with the last."""
        reference = self.owner_reference()
        return {name: reference[name] for name in ("apiVersion", "kind", "name", "uid")}


def owner_of(resource: Manifest) -> Owner:
    """Read the Owner off a GemmaDeployment manifest."""
    metadata = resource["metadata"]
    return Owner(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata["generation"],
    )


def object_key(manifest: Manifest) -> ObjectKey:
    """Identity of a manifest."""
    metadata = manifest["metadata"]
    return ObjectKey(
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
    )


def controller_uid(manifest: Manifest) -> str | None:
    """Uid of the owner that controls the object, if one does."""
    for reference in manifest["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return None


def is_controlled_by(manifest: Manifest, uid: str) -> bool:
    """Whether the object is controlled by the object with this uid."""
    return controller_uid(manifest) == uid


def referring_uids(manifest: Manifest) -> set[str]:
    """Uids of everything that the object belongs to."""
    return {reference["uid"] for reference in manifest["metadata"].get("ownerReferences") or ()}


def is_shared(manifest: Manifest) -> bool:
    """Whether the object belongs to users who come and go: a claim or a Job that nothing controls."""
    return manifest["kind"] in ("PersistentVolumeClaim", "Job") and controller_uid(manifest) is None


def is_kept_for_weights(manifest: Manifest) -> bool:
    """Whether the object is a claim that operators made for weights, or a Job that fills one."""
    labels = manifest["metadata"].get("labels") or {}
    is_ours = (labels.get(MANAGED_BY_LABEL), labels.get(ROLE_LABEL)) == (MANAGER, WEIGHTS)
    return is_ours and is_shared(manifest)


def is_of(manifest: Manifest, uid: str) -> bool:
    """Whether an object among the children of a name is that of the owner with this uid.

    What keeps weights is everybody's who may use it: also of one that is about to.
    """
    return is_controlled_by(manifest, uid) or is_kept_for_weights(manifest)


def selector_labels(owner: Owner, role: str) -> dict[str, str]:
    """Labels that select the pods of one role. They never change: a Deployment's selector is immutable."""
    return {OWNER_LABEL: short_name(owner.name), ROLE_LABEL: role}


def labels_for(owner: Owner, role: str) -> dict[str, str]:
    """Labels of a child."""
    return {
        NAME_LABEL: APPLICATION,
        INSTANCE_LABEL: short_name(owner.name),
        COMPONENT_LABEL: role,
        MANAGED_BY_LABEL: MANAGER,
        **selector_labels(owner, role),
    }


def shared_labels(claim_name: str) -> dict[str, str]:
    """Labels of a shared claim of weights, of its Jobs and of their pods: the same, whoever made them."""
    return {
        NAME_LABEL: APPLICATION,
        INSTANCE_LABEL: claim_name,
        COMPONENT_LABEL: WEIGHTS,
        MANAGED_BY_LABEL: MANAGER,
        SHARED_LABEL: claim_name,
        ROLE_LABEL: WEIGHTS,
    }


def endpoint_url(owner: Owner) -> str:
    """Base URL of the OpenAI endpoint, for clients inside the cluster."""
    return f"http://{short_name(owner.name)}.{owner.namespace}.svc/v1"


def content_hash(value: Any) -> str:
    """Short hash of plain data, the same for equal data whatever the key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def short_name(*parts: str) -> str:
    """Join parts with dashes into a DNS label of at most 63 characters; a changed name ends in a hash.

    Names of GemmaDeployments are DNS labels by the CRD's own rule: only long child names show a hash.
    """
    joined = "-".join(parts)
    if len(joined) <= NAME_LIMIT and _DNS_LABEL.match(joined):
        return joined
    cleaned = re.sub(r"[^a-z0-9-]+", "-", joined.lower()).strip("-")
    if not cleaned[:1].isalpha():
        cleaned = f"gemma-{cleaned}"
    kept = cleaned[: NAME_LIMIT - _HASH_LENGTH - 1].rstrip("-")
    return f"{kept}-{content_hash(joined)}"
