"""How the Gateway API leads to an endpoint: its HTTPRoute, and the InferencePool of its pods."""

from collections.abc import Callable

from gemma_operator.api.manifest import SERVING, Manifest, Owner, selector_labels, short_name
from gemma_operator.resources.layout import API_PORT, SERVICE_PORT, object_metadata, service_name
from gemma_operator.settings import EndpointPickerSettings, GatewayApiSettings

POOL_GROUP = "inference.networking.k8s.io"


def gateway_objects(
    owner: Owner, settings: GatewayApiSettings, serves: Callable[[str], bool]
) -> tuple[Manifest, ...]:
    """What the settings ask for, of the kinds that the cluster has (`serves`, by the kind's name)."""
    picker = settings.endpoint_picker if serves("InferencePool") else None
    pool = () if picker is None else (inference_pool(owner, picker),)
    if not settings.parent_refs or not serves("HTTPRoute"):
        return pool
    return (*pool, http_route(owner, settings, has_pool=picker is not None))


def inference_pool(owner: Owner, picker: EndpointPickerSettings) -> Manifest:
    """`NAME`: the serving pods, among which the picker chooses (Gateway API Inference Extension, v1)."""
    return {
        "apiVersion": f"{POOL_GROUP}/v1",
        "kind": "InferencePool",
        "metadata": object_metadata(owner, short_name(owner.name), SERVING),
        "spec": {
            "selector": {"matchLabels": selector_labels(owner, SERVING)},
            "targetPorts": [{"number": API_PORT}],
            "endpointPickerRef": {
                "group": "",
                "kind": "Service",
                "name": short_name(owner.name, picker.service_suffix),
                "port": {"number": picker.port},
                "failureMode": picker.failure_mode.value,
            },
        },
    }


def http_route(owner: Owner, settings: GatewayApiSettings, *, has_pool: bool) -> Manifest:
    """`NAME`: `/NAMESPACE/NAME/v1/…` of the Gateways leads to `/v1/…` of the endpoint."""
    hostnames = {"hostnames": list(settings.hostnames)} if settings.hostnames else {}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": object_metadata(owner, short_name(owner.name), SERVING),
        "spec": {
            "parentRefs": [
                reference.model_dump(by_alias=True, exclude_none=True) for reference in settings.parent_refs
            ],
            **hostnames,
            "rules": [
                {
                    "matches": [
                        {"path": {"type": "PathPrefix", "value": f"/{owner.namespace}/{owner.name}"}}
                    ],
                    "filters": [
                        {
                            "type": "URLRewrite",
                            "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
                        }
                    ],
                    # None: a gateway's own limit cuts long answers short. The pods have one.
                    "timeouts": {"request": "0s", "backendRequest": "0s"},
                    "backendRefs": [_backend(owner, has_pool)],
                }
            ],
        },
    }


def _backend(owner: Owner, has_pool: bool) -> Manifest:
    if has_pool:
        return {"group": POOL_GROUP, "kind": "InferencePool", "name": short_name(owner.name)}
    return {"kind": "Service", "name": service_name(owner), "port": SERVICE_PORT}
