"""The ConfigMap with runtime.json."""

import json

from gemma_operator.api.manifest import CONFIG_HASH_ANNOTATION, SERVING, Manifest, Owner, content_hash
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.layout import CONFIG_KEY, config_name, object_metadata
from gemma_operator.resources.runtime import runtime_config


def runtime_config_map(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan) -> Manifest:
    """`NAME-runtime`: what the pods are to serve, and how."""
    metadata = object_metadata(owner, config_name(owner), SERVING)
    metadata["annotations"] = {CONFIG_HASH_ANNOTATION: config_hash(owner, spec, plan)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {CONFIG_KEY: json.dumps(_content(owner, spec, plan), indent=2, ensure_ascii=False) + "\n"},
    }


def config_hash(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan) -> str:
    """Hash of runtime.json."""
    return content_hash(_content(owner, spec, plan))


def _content(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan) -> Manifest:
    content: Manifest = json.loads(runtime_config(owner, spec, plan).to_json())
    return content
