"""What pods are made from, kept as it was when it last served: for the way back, and against surprises.

A record is a ConfigMap beside the others. It holds whole manifests, so that going back needs neither the old
spec nor the old operator (docs/design/20261125-rollout.md).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_operator.api.manifest import (
    RECORD,
    Manifest,
    ObjectKey,
    Owner,
    content_hash,
    is_controlled_by,
    is_shared,
    object_key,
    referring_uids,
    short_name,
)
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.resources.configmap import with_live_fields
from gemma_operator.resources.layout import object_metadata
from gemma_operator.resources.rollout import template_hash_of

RECORD_KEY = "revision.json"
KEPT_KINDS = frozenset({"ConfigMap", "NetworkPolicy", "Deployment", "PersistentVolumeClaim", "Job"})
"""Of what a GemmaDeployment has, whatever its pods read, need, or are made from."""
_FOLLOWING = frozenset({"ConfigMap", "Deployment"})
"""Of those, what follows the spec in what changes no pod."""
_PACED = ("replicas", "strategy", "progressDeadlineSeconds")
"""Fields of a Deployment that change no pod, and follow the spec whichever template is in force."""
_NO_POD_CHANGES: dict[str, Any] = {
    "replicas": True,
    "scaling": True,
    "suspend": True,
    "rollout": True,
    "monitoring": {"scrape": True, "objectives": True},
    "pod": {"safe_to_evict": True},
    "cache": {"retention": True},
    "capacity": {"max_queued_requests": True},
    "access": {"limits": True, "limit_store": {"on_failure": True, "url_secret_ref": {"key": True}}},
    "safety": {
        "max_input_characters": True,
        "policies": True,
        "stages": True,
        "on_guard_failure": True,
    },
}
"""Fields of the spec that change no pod, and reach running ones whichever revision is in force.

Not `guardRef` and `limitStore.port`, which change no pod either: the NetworkPolicy that goes with them is the
revision's."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One rendering."""

    template_hash: str
    spec_hash: str
    """Of the fields that change pods: whether two renderings differ by an edit, or by the operator alone."""
    operator_version: str
    objects: tuple[Manifest, ...]
    """Those of KEPT_KINDS; the Deployment without what does not change its pods."""
    plan: Manifest | None = None
    """`status.plan` that goes with it."""


def spec_hash(spec: GemmaDeploymentSpec) -> str:
    """Hash of what the user wrote that changes pods. Defaults are left out: a new version may bring more."""
    fields = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_NO_POD_CHANGES)
    told = _without_empty(fields)
    if spec.cache is not None:
        told.setdefault("cache", {})  # an empty one is a claim all the same
    return content_hash(told)


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    told = {
        name: _without_empty(value) if isinstance(value, dict) else value for name, value in fields.items()
    }
    return {name: value for name, value in told.items() if value != {}}


def revision_of(spec: GemmaDeploymentSpec, rendered: Iterable[Manifest], operator_version: str) -> Revision:
    """The revision in what has just been rendered."""
    objects = tuple(_unpaced(manifest) for manifest in rendered if manifest["kind"] in KEPT_KINDS)
    deployment = next(manifest for manifest in objects if manifest["kind"] == "Deployment")
    return Revision(template_hash_of(deployment) or "", spec_hash(spec), operator_version, objects)


def record_of(owner: Owner, revision: Revision) -> Manifest:
    """`NAME-last-good`: the revision that last served with all its replicas."""
    content = {
        "templateHash": revision.template_hash,
        "specHash": revision.spec_hash,
        "operatorVersion": revision.operator_version,
        "objects": list(revision.objects),
        "plan": revision.plan,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(owner, _record_name(owner), RECORD),
        "data": {RECORD_KEY: json.dumps(content, separators=(",", ":"), ensure_ascii=False)},
    }


def read_record(owner: Owner, children: Iterable[Manifest]) -> Revision | None:
    """The last good revision; None where there is none, or none that can be read."""
    for child in children:
        is_record = child["kind"] == "ConfigMap" and child["metadata"]["name"] == _record_name(owner)
        if is_record and is_controlled_by(child, owner.uid):
            return _parse((child.get("data") or {}).get(RECORD_KEY, ""))
    return None


def restored(owner: Owner, revision: Revision, rendered: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """What is desired when the revision is in force instead of what has been rendered.

    Service, account and budget are those of now; so are replicas and pace of the Deployment, and limits and
    safety lists in runtime.json.
    """
    others = [manifest for manifest in rendered if manifest["kind"] not in KEPT_KINDS]
    now = {manifest["kind"]: manifest for manifest in rendered if manifest["kind"] in _FOLLOWING}
    # Whether a claim is to stay is asked of the spec as it is now.
    claims = {object_key(m): m for m in rendered if m["kind"] == "PersistentVolumeClaim"}
    kept = [claims.get(object_key(manifest)) or _owned(owner, manifest) for manifest in revision.objects]
    return (*others, *(_followed(manifest, now.get(manifest["kind"])) for manifest in kept))


def _followed(kept: Manifest, now: Manifest | None) -> Manifest:
    if now is None:
        return kept
    return _paced(kept, now) if kept["kind"] == "Deployment" else with_live_fields(kept, now)


def _paced(deployment: Manifest, now: Manifest) -> Manifest:
    """In the order of fields of a rendering, so that a diff of the two shows what differs."""
    fields = {**deployment["spec"], **{name: now["spec"][name] for name in _PACED if name in now["spec"]}}
    order = [*now["spec"], *(name for name in fields if name not in now["spec"])]
    return {**deployment, "spec": {name: fields[name] for name in order if name in fields}}


def needed_to_return(revision: Revision) -> frozenset[ObjectKey]:
    """Weights of the revision, and the proof that they are there: not pruned while it is the way back."""
    return frozenset(
        object_key(manifest)
        for manifest in revision.objects
        if manifest["kind"] in ("PersistentVolumeClaim", "Job")
    )


def _record_name(owner: Owner) -> str:
    return short_name(owner.name, "last-good")


def _unpaced(manifest: Manifest) -> Manifest:
    if manifest["kind"] != "Deployment":
        return manifest
    spec = {name: value for name, value in manifest["spec"].items() if name not in _PACED}
    return {**manifest, "spec": spec}


def _owned(owner: Owner, manifest: Manifest) -> Manifest:
    if not is_shared(manifest):
        references = [owner.owner_reference()]
    else:
        references = [owner.user_reference()] if referring_uids(manifest) else []
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": references}}


def _parse(text: str) -> Revision | None:
    try:
        content: dict[str, Any] = json.loads(text)
        revision = Revision(
            template_hash=str(content["templateHash"]),
            spec_hash=str(content["specHash"]),
            operator_version=str(content["operatorVersion"]),
            objects=tuple(content["objects"]),
            plan=content.get("plan"),
        )
        kinds = [manifest["kind"] for manifest in revision.objects]
    except (ValueError, KeyError, TypeError):
        return None
    return revision if kinds.count("Deployment") == 1 else None
