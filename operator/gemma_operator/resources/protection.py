"""What `spec.access` and `spec.safety` add to a serving pod: mounts, settings in runtime.json, egress."""

from gemma_operator.api.manifest import OWNER_LABEL, ROLE_LABEL, SERVING, Manifest, Owner, short_name
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.resources.containers import mount
from gemma_operator.resources.layout import API_PORT, SERVICE_PORT
from gemma_serving.contract import AccessConfig, KeyLimits, SafetyConfig

KEYS_FOLDER = "/etc/gemma-keys"
LIMIT_STORE_FOLDER = "/etc/gemma-limit-store"
TERMS_FOLDER = "/etc/gemma-terms"
GUARD_FOLDER = "/etc/gemma-guard"

KEYS_VOLUME, LIMIT_STORE_VOLUME, TERMS_VOLUME, GUARD_VOLUME = "keys", "limit-store", "terms", "guard"


def access_config(spec: GemmaDeploymentSpec) -> AccessConfig | None:
    """Who may ask, for runtime.json; None: anybody."""
    access = spec.access
    if access is None:
        return None
    store = access.limit_store
    return AccessConfig(
        keys_path=KEYS_FOLDER if access.api_keys_secret_ref is not None else None,
        limits=KeyLimits(
            requests_per_minute=access.limits.requests_per_minute,
            requests_per_hour=access.limits.requests_per_hour,
            tokens_per_minute=access.limits.tokens_per_minute,
            tokens_per_request=access.limits.tokens_per_request,
        ),
        limit_store_url_path=None if store is None else f"{LIMIT_STORE_FOLDER}/{store.url_secret_ref.key}",
        limit_store_failure="Open" if store is None else store.on_failure.value,
    )


def safety_config(owner: Owner, spec: GemmaDeploymentSpec) -> SafetyConfig | None:
    """What is refused for its content, for runtime.json; None: nothing."""
    safety = spec.safety
    if safety is None:
        return None
    guard = safety.guard_ref
    key = None if guard is None else guard.api_key_secret_ref
    return SafetyConfig(
        max_input_characters=safety.max_input_characters,
        blocked_terms_path=None if safety.blocked_terms_config_map_ref is None else TERMS_FOLDER,
        guard_url=None if guard is None else _guard_url(owner, guard.name),
        guard_model="" if guard is None else guard.name,
        guard_key_path=None if key is None else f"{GUARD_FOLDER}/{key.key}",
        policies=[policy.value for policy in safety.policies],
        stages=[stage.value for stage in safety.stages],
        on_guard_failure=safety.on_guard_failure.value,
    )


def protection_volumes(spec: GemmaDeploymentSpec) -> list[Manifest]:
    """Secrets and ConfigMaps of the resource's own namespace, read by the gateway only."""
    return [volume for volume, _ in _mounted(spec)]


def protection_mounts(spec: GemmaDeploymentSpec) -> list[Manifest]:
    """Where the gateway reads them. Whole volumes, never single files: those would not follow a change."""
    return [mount(volume["name"], folder, read_only=True) for volume, folder in _mounted(spec)]


def protection_egress(spec: GemmaDeploymentSpec) -> list[Manifest]:
    """Network policy rules towards the guard and the store of limits."""
    rules: list[Manifest] = []
    if spec.safety is not None and spec.safety.guard_ref is not None:
        labels = {OWNER_LABEL: short_name(spec.safety.guard_ref.name), ROLE_LABEL: SERVING}
        rules.append(
            {
                "to": [{"podSelector": {"matchLabels": labels}}],
                "ports": [{"port": API_PORT, "protocol": "TCP"}],
            }
        )
    if spec.access is not None and spec.access.limit_store is not None:
        # By port only: a store may be anywhere.
        rules.append({"ports": [{"port": spec.access.limit_store.port, "protocol": "TCP"}]})
    return rules


def _mounted(spec: GemmaDeploymentSpec) -> list[tuple[Manifest, str]]:
    mounted: list[tuple[Manifest, str]] = []
    if spec.access is not None:
        if spec.access.api_keys_secret_ref is not None:
            # Optional: a deleted Secret must not keep pods from starting; the gateway then lets nobody in.
            secret = {"secretName": spec.access.api_keys_secret_ref.name, "optional": True}
            mounted.append(({"name": KEYS_VOLUME, "secret": secret}, KEYS_FOLDER))
        if spec.access.limit_store is not None:
            secret = {"secretName": spec.access.limit_store.url_secret_ref.name}
            mounted.append(({"name": LIMIT_STORE_VOLUME, "secret": secret}, LIMIT_STORE_FOLDER))
    if spec.safety is not None:
        terms, guard = spec.safety.blocked_terms_config_map_ref, spec.safety.guard_ref
        if terms is not None:
            mounted.append(({"name": TERMS_VOLUME, "configMap": {"name": terms.name}}, TERMS_FOLDER))
        if guard is not None and guard.api_key_secret_ref is not None:
            secret = {"secretName": guard.api_key_secret_ref.name}
            mounted.append(({"name": GUARD_VOLUME, "secret": secret}, GUARD_FOLDER))
    return mounted


def _guard_url(owner: Owner, name: str) -> str:
    return f"http://{short_name(name)}.{owner.namespace}.svc:{SERVICE_PORT}"
