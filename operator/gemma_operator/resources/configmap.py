"""The ConfigMap with runtime.json."""

import json

from gemma_operator.api.manifest import CONFIG_HASH_ANNOTATION, SERVING, Manifest, Owner, content_hash
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.layout import CONFIG_KEY, config_name, object_metadata
from gemma_operator.resources.runtime import runtime_config
from gemma_operator.settings import OperatorSettings
from gemma_serving.contract import LIVE_FIELDS


def runtime_config_map(
    owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings
) -> Manifest:
    """`NAME-runtime`: what the pods are to serve, and how."""
    metadata = object_metadata(owner, config_name(owner), SERVING)
    metadata["annotations"] = {CONFIG_HASH_ANNOTATION: config_hash(owner, spec, plan, settings)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {CONFIG_KEY: _text(_content(owner, spec, plan, settings))},
    }


def config_hash(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> str:
    """Hash of what in runtime.json takes new pods; running gateways take up the rest."""
    content = _content(owner, spec, plan, settings)
    live = LIVE_FIELDS if plan.adapter_room is None else LIVE_FIELDS | {"adapters"}
    return content_hash({name: value for name, value in content.items() if name not in live})


def with_live_fields(kept: Manifest, rendered: Manifest) -> Manifest:
    """The ConfigMap of a revision that is held, with what needs no new pods as the spec asks for it now."""
    try:
        content, now = (json.loads(manifest["data"][CONFIG_KEY]) for manifest in (kept, rendered))
    except (KeyError, TypeError, ValueError):
        return kept
    merged = {
        name: (now if name in LIVE_FIELDS else content).get(name)
        for name in (*now, *(name for name in content if name not in now))
    }
    told = {name: value for name, value in merged.items() if value is not None}
    return {**kept, "data": {CONFIG_KEY: _text(told)}}


def _text(content: Manifest) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _content(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    content: Manifest = json.loads(runtime_config(owner, spec, plan, settings).to_json())
    return content
